// See the header.
#include "server/model_name.h"

#include "absl/strings/strip.h"

namespace skipserve {
namespace {

// "/models/SmolLM2-Q8_0.gguf/" -> "SmolLM2-Q8_0.gguf"
absl::string_view LastPart(absl::string_view path) {
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  return path.substr(path.rfind('/') + 1);
}

}  // namespace

std::string ServedName(absl::string_view model_path) {
  const absl::string_view name = absl::StripSuffix(LastPart(model_path), ".gguf");
  return name.empty() ? "default" : std::string(name);
}

bool MeansModel(absl::string_view asked, absl::string_view served_name,
                absl::string_view model_path) {
  return asked.empty() || asked == "default" || asked == served_name ||
         asked == LastPart(model_path) || asked == ServedName(model_path);
}

}  // namespace skipserve
