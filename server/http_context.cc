#include "server/http_context.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"

namespace skipserve {
namespace {

// "/models/SmolLM2-Q8_0.gguf/" -> "SmolLM2-Q8_0.gguf"
absl::string_view FileName(absl::string_view path) {
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  return path.substr(path.rfind('/') + 1);
}

HttpOptions WithName(HttpOptions options) {
  if (options.served_name.empty()) {
    options.served_name = std::string(absl::StripSuffix(FileName(options.model_path), ".gguf"));
  }
  if (options.served_name.empty()) options.served_name = "default";
  return options;
}

}  // namespace

HttpContext::HttpContext(Engine& engine_in, Metrics& metrics_in, HttpOptions options_in)
    : engine(engine_in),
      metrics(metrics_in),
      options(WithName(std::move(options_in))),
      created(absl::ToUnixSeconds(absl::Now())),
      workers(static_cast<size_t>(options.worker_threads)) {
  bodies.limit = options.body_memory_bytes;
}

bool HttpContext::IsModelName(absl::string_view name) const {
  if (name.empty() || name == "default" || name == options.served_name) return true;
  const absl::string_view file = FileName(options.model_path);
  return name == file || name == absl::StripSuffix(file, ".gguf");
}

}  // namespace skipserve
