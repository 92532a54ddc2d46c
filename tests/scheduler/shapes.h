// Small sequence shapes and steps that the scheduler's tests share.
#pragma once

#include <cstdint>
#include <random>

#include "gmock/gmock.h"
#include "scheduler/scheduler.h"

namespace skipserve {

inline const absl::Time kNow = absl::UnixEpoch() + absl::Hours(1);

// Chance from one seed: a life that fails can be run again.
class Dice {
 public:
  explicit Dice(uint64_t seed) : random_(seed) {}
  uint64_t Any() { return random_(); }
  int64_t Between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(random_() % static_cast<uint64_t>(high - low + 1));
  }
  bool Chance(int64_t percent) { return Between(0, 99) < percent; }

 private:
  std::mt19937_64 random_;
};

// All layers in the trunk; one FLOP a token.
SequenceShape DenseShape(int32_t layers, int64_t prompt_tokens, int64_t max_new_tokens);

// Half of the layers in the trunk (one FLOP a token), the others caching `kept` tokens each (ten
// FLOPs a layer, before its first row).
SequenceShape SkippingShape(int32_t layers, int64_t prompt_tokens, int64_t kept,
                            int64_t max_new_tokens);

// Every FLOP of a prefill takes a second, and nothing else takes time.
Work SecondAFlop();

// Four layers, blocks of 4 tokens, minimal chunks of 8 tokens, chunks of 32, slices of whole
// layers; 10 seconds a busy step, 1000 an idle one; first come, first served.
Scheduler::Options SmallOptions(int64_t num_blocks = 1000);

// Plans and commits until `id` decodes.
void RunPrefill(Scheduler& scheduler, SequenceId id);

MATCHER_P(IsDecode, id, "") { return arg.id == static_cast<SequenceId>(id); }
MATCHER_P3(IsTrunk, id, begin, end, "") {
  return arg.id == static_cast<SequenceId>(id) && arg.token_begin == begin && arg.token_end == end;
}
MATCHER_P5(IsSlice, id, begin, end, layer_begin, layer_end, "") {
  return arg.id == static_cast<SequenceId>(id) && arg.token_begin == begin &&
         arg.token_end == end && arg.layer_begin == layer_begin && arg.layer_end == layer_end;
}
MATCHER_P3(IsSkip, id, begin, end, "") {
  return arg.id == static_cast<SequenceId>(id) && arg.begin == SkipPoint{begin, 0} &&
         arg.end == SkipPoint{end, 0};
}
MATCHER(IsOk, "") { return arg.ok(); }

}  // namespace skipserve
