// The safetensors container: a JSON header with each tensor's type, shape and place, then the data.
// It checks every number before use. Pure functions over the file's bytes, safe from any thread.
#pragma once

#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/model_file_tensor.h"

namespace skipserve {

struct SafetensorsFile {
  StoredTensors tensors;                                // views of the file's bytes
  absl::flat_hash_map<std::string, std::string> other;  // tensors of types we do not read: the type
};

// INVALID_ARGUMENT says what is wrong and what to do about it, but not in which file.
absl::StatusOr<SafetensorsFile> ParseSafetensors(absl::string_view bytes);

}  // namespace skipserve
