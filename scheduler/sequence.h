// The scheduler's own record of one sequence: its shape, how far it is, and the blocks it holds.
// Not thread-safe.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "scheduler/prefix_cache.h"
#include "scheduler/types.h"

namespace skipserve {

// kDone: a prefix-only sequence that has read its trunk, and waits to be removed.
enum class SequencePhase { kWaiting, kTrunk, kSkipping, kDecode, kDone };

struct Sequence {
  SequenceId id = 0;
  SequenceShape shape;
  int64_t blocks_needed = 0;  // at most, shared ones included
  int64_t owed = 0;           // of these, blocks promised and not yet taken; 0 while waiting
  int64_t promised_new = 0;   // new tokens that the promise is for
  absl::Time seen_at = absl::InfiniteFuture();  // by the first plan since it came
  absl::Time admitted_at = absl::InfiniteFuture();
  int64_t arrival = 0;    // which one it was to come
  int64_t admission = 0;  // which admission it was: a later one is younger
  bool idle = false;      // of idle priority

  SequencePhase phase = SequencePhase::kWaiting;
  int64_t trunk_tokens = 0;  // prompt tokens that have passed the trunk
  int64_t chunk_end = 0;     // of the chunk that is on its way through it, where chunk_layers > 0
  int32_t chunk_layers = 0;  // that it has passed
  SkipPoint skip;            // in kSkipping: how far it is
  int64_t decoded = 0;       // tokens written by decode steps, the same in every layer

  std::vector<BlockTable> tables;  // by layer; empty until admitted
  // The chain whose blocks its trunk tables begin with: found there, or left there by itself.
  std::vector<PrefixNode*> prefix;
  int64_t cached_blocks = 0;    // how many of `prefix` were found
  std::vector<BlockId> states;  // for blocks after `prefix` whose tokens are planned
  bool publishes = false;       // leaves what follows `prefix` in the cache
  bool planned = false;         // in the latest plan, which is not committed
  bool over_limit = false;      // a plan would have needed more than was reserved

  int64_t kv_tokens(int32_t layer) const {
    switch (phase) {
      case SequencePhase::kWaiting:
        return 0;
      case SequencePhase::kTrunk:
        return layer < chunk_layers ? chunk_end : layer < shape.trunk_layers ? trunk_tokens : 0;
      case SequencePhase::kSkipping:
        if (layer < skip.layer) return shape.kv_prompt_tokens[layer];
        return layer == skip.layer ? std::min(skip.row, shape.kv_prompt_tokens[layer]) : 0;
      case SequencePhase::kDone:
      case SequencePhase::kDecode:
        return shape.kv_prompt_tokens[layer] + decoded;
    }
    return 0;
  }
};

}  // namespace skipserve
