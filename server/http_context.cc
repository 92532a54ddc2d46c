#include "server/http_context.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/model_name.h"

namespace skipserve {
HttpContext::HttpContext(Engine& engine_in, Metrics& metrics_in, HttpOptions options_in)
    : engine(engine_in),
      metrics(metrics_in),
      options(std::move(options_in)),
      created(absl::ToUnixSeconds(absl::Now())),
      workers(static_cast<size_t>(options.worker_threads)) {
  bodies.limit = options.body_memory_bytes;
}

bool HttpContext::IsModelName(absl::string_view name) const {
  return MeansModel(name, options.served_name, options.model_path);
}

ApiError HttpContext::NoSuchModel(absl::string_view name) const {
  ApiError error = ApiErrorFor(
      404, absl::StrCat("The model '", name.substr(0, 200), "' does not exist; there is '",
                        options.served_name, "' (or 'default') here."));
  error.param = "model";
  error.code = "model_not_found";
  return error;
}

}  // namespace skipserve
