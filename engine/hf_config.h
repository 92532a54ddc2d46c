// A Hugging Face folder's config.json and generation_config.json as the shape of a model. A pure
// function, safe from any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/model_config.h"

namespace skipserve {

struct HfConfig {
  ModelConfig model;  // not yet validated; its name is empty where the file gives none
  int32_t bos_id = -1;
  std::vector<int32_t> eos_ids;  // of both files, as they come
};

// `generation_json` may be empty. INVALID_ARGUMENT names the key, not the file.
absl::StatusOr<HfConfig> ParseHfConfig(absl::string_view config_json,
                                       absl::string_view generation_json);

}  // namespace skipserve
