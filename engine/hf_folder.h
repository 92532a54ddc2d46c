// A model read from a Hugging Face folder: config.json, one or many safetensors files, and
// tokenizer.json with what lies beside it.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/model_file.h"

namespace skipserve {

// NOT_FOUND where the folder lacks a file it needs; INVALID_ARGUMENT for damage and for what is not
// supported. Messages begin with the file's path.
absl::StatusOr<std::unique_ptr<ModelFile>> OpenHfFolder(const std::string& path);

}  // namespace skipserve
