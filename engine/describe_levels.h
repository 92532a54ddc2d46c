// What clients are told of a model's levels. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/engine.h"
#include "engine/model_config.h"
#include "engine/skip/levels.h"

namespace skipserve {

// The levels in their order, with bounds at 1024, 2048, 4096, ... tokens and at `max_context`,
// which is the longest, or the only one where it is shorter.
std::vector<SkipLevelInfo> DescribeLevels(const SkipLevels& levels, const ModelConfig& config,
                                          int64_t max_context);

}  // namespace skipserve
