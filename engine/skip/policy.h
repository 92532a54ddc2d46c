// What a caller may ask of skipping: the settings of METHOD's seven steps, before they meet a prompt's length.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/ops.h"
#include "nlohmann/json_fwd.hpp"

namespace skipserve {

enum class FfnScore { kProduct, kAttention, kExact };

// Sizes below 1.0 are fractions of the prompt, others counts of tokens.
struct SkipPolicy {
  int32_t start = 0;                // layers before it are dense
  std::vector<int32_t> stage_ends;  // last layer of each stage, ascending
  std::vector<double> budgets;      // active tokens of a layer, by stage
  std::vector<double> keeps;        // candidates left after each stage
  int64_t sink = 4;                 // first positions, always active
  int64_t recent = 16;              // last positions, always active
  int32_t window = 1;               // last prompt tokens whose queries probe
  Reduce window_reduce = Reduce::kMax;
  Reduce head_reduce = Reduce::kMean;
  int32_t pool = 1;                 // odd width of max-pooling over neighbouring candidates
  FfnScore ffn_score = FfnScore::kProduct;

  bool operator==(const SkipPolicy&) const = default;
};

// INVALID_ARGUMENT naming the field that is wrong for a model of `layers` layers.
absl::Status ValidatePolicy(const SkipPolicy& policy, int32_t layers);

// From and to JSON, by the field names above ("max" / "mean", "product" / "attention" / "exact"). Instead of "keeps"
// there may be "cut" (a size) with "cut_reading": "keep" (default: |T| = M - cut after a stage) or "drop" (|T| shrinks by
// cut). Unknown fields are errors that name them.
absl::StatusOr<SkipPolicy> PolicyFromJson(const nlohmann::json& json);
nlohmann::json PolicyToJson(const SkipPolicy& policy);

}  // namespace skipserve
