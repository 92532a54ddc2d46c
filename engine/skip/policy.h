// What a caller may ask of skipping: the settings of the method's steps, before they meet a
// prompt's length.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/ops.h"
#include "nlohmann/json_fwd.hpp"

namespace skipserve {

inline constexpr int32_t kMaxProbeWindow = 64;

enum class FfnScore { kProduct, kAttention, kExact };

// Sizes below 1.0 are fractions of the prompt, others whole counts of tokens, at most 2^30. A
// negative size, in `keeps` only, is all of the prompt but so much: -1024 leaves the prompt's
// length less 1024.
struct SkipPolicy {
  int32_t start = 0;                // layers before it are dense; 0 .. layers - 1
  std::vector<int32_t> stage_ends;  // last layer of each stage, ascending from start; at least one
  std::vector<double> budgets;      // active tokens of a layer, by stage
  std::vector<double> keeps;        // candidates left after each stage
  int64_t sink = 4;                 // first positions, always active; 0 .. 65536
  int64_t recent = 16;              // last positions, always active; 0 .. 65536
  int32_t window = 1;               // last prompt tokens whose queries probe; 1 .. 64
  Reduce window_reduce = Reduce::kMax;
  Reduce head_reduce = Reduce::kMean;
  int32_t pool = 1;  // odd width of max-pooling over neighbouring candidates; 1 .. 255
  // Layers that probe, ascending from start; the skipping layers between two of them choose by the
  // last one's scores. Empty: every layer that skips probes for itself, as in the paper.
  std::vector<int32_t> probe_layers;
  // What is left at a probing layer of the scores before it: a candidate's score is the larger of
  // its new one and its old one times this; 0 .. 1.
  double memory = 0;
  FfnScore ffn_score = FfnScore::kProduct;

  bool operator==(const SkipPolicy&) const = default;
};

// INVALID_ARGUMENT naming the field that is wrong for a model of `layers` layers.
absl::Status ValidatePolicy(const SkipPolicy& policy, int32_t layers);

// The count of tokens that a size means for a prompt of `prompt_tokens` >= 1 tokens: 1 ..
// prompt_tokens.
int64_t ResolveSize(double size, int64_t prompt_tokens);

// From and to JSON, by the field names above ("max" / "mean", "product" / "attention" / "exact").
// "start", "stage_ends", "budgets" and "keeps" must be there; the others have the defaults above.
// Instead of "keeps" there may be "cut" (a size) with "cut_reading": "keep" (default: |T| = M - cut
// after a stage; both counts or both fractions) or "drop" (|T| shrinks by cut after every stage).
// Unknown fields are errors that name them. What does not depend on the model is checked as in
// ValidatePolicy.
absl::StatusOr<SkipPolicy> PolicyFromJson(const nlohmann::json& json);
nlohmann::json PolicyToJson(const SkipPolicy& policy);

}  // namespace skipserve
