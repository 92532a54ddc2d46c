// The scheduler's own record of one sequence: its shape, how far it is, and the blocks it holds.
// Not thread-safe.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "scheduler/types.h"

namespace skipserve {

enum class SequencePhase { kWaiting, kTrunk, kSkipping, kDecode };

struct Sequence {
  SequenceId id = 0;
  SequenceShape shape;
  int64_t blocks_needed = 0;
  absl::Time admitted_at = absl::InfiniteFuture();
  bool idle = false;  // of idle priority

  SequencePhase phase = SequencePhase::kWaiting;
  int64_t trunk_tokens = 0;  // prompt tokens that have passed the trunk
  int32_t layers_done = 0;   // in kSkipping: layers whose prompt KV is complete
  int64_t decoded = 0;       // tokens written by decode steps, the same in every layer

  std::vector<BlockTable> tables;  // by layer; empty until admitted
  bool planned = false;            // in the latest plan, which is not committed
  bool over_limit = false;         // a plan would have needed more than was reserved

  int64_t kv_tokens(int32_t layer) const {
    switch (phase) {
      case SequencePhase::kWaiting:
        return 0;
      case SequencePhase::kTrunk:
        return layer < shape.trunk_layers ? trunk_tokens : 0;
      case SequencePhase::kSkipping:
        return layer < layers_done ? shape.kv_prompt_tokens[layer] : 0;
      case SequencePhase::kDecode:
        return shape.kv_prompt_tokens[layer] + decoded;
    }
    return 0;
  }
};

}  // namespace skipserve
