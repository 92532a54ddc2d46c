// What clients may call the one model that is served. Pure functions.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace skipserve {

// A model's name for clients where none is given: that of its file or folder.
std::string ServedName(absl::string_view model_path);

// Whether `asked` is the model served: its served name, "default", nothing at all, or the last part
// of its path, with or without ".gguf".
bool MeansModel(absl::string_view asked, absl::string_view served_name,
                absl::string_view model_path);

}  // namespace skipserve
