// The rotary embedding's cos and sin tables for every position of the context.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/model_config.h"
#include "kernels/ops.h"

namespace skipserve {

// Inverse frequencies [head_dim / 2], scaled as the config says. `divisors` (empty, or one per
// frequency) are a model file's own, and replace the config's scaling.
std::vector<float> RopeFrequencies(const ModelConfig& config, absl::Span<const float> divisors);

struct RopeMemory {
  Buffer cos, sin;
  RopeTable table;
};

// RESOURCE_EXHAUSTED where the tables do not fit in memory.
absl::StatusOr<RopeMemory> MakeRopeTable(absl::Span<const float> frequencies, int64_t positions,
                                         Ops& ops);

}  // namespace skipserve
