// Plain values the scheduler and the step loop exchange. Host logic only: no tensors, no threads,
// no clock.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/time/time.h"

namespace skipserve {

using SequenceId = uint64_t;
using BlockId = int32_t;

// What the scheduler has to know of a request before it runs. All of it follows from the prompt's
// length and the skip plan, so KV need and work are known at admission.
struct SequenceShape {
  int64_t prompt_tokens = 0;   // >= 1
  int64_t max_new_tokens = 0;  // >= 1
  int32_t trunk_layers =
      0;  // layers computed in chunks for every token; all layers for a dense request
  // Tokens of the prompt that each layer's KV cache will hold, by layer; prompt_tokens in trunk
  // layers.
  std::vector<int64_t> kv_prompt_tokens;
  // FLOPs of each skipping layer, layers trunk_layers .. layers - 1.
  std::vector<double> skip_layer_flops;
  // FLOPs of the trunk: per token, and per (query, key) pair, summed over the trunk's layers.
  double trunk_flops_per_token = 0;
  double trunk_flops_per_pair = 0;

  int32_t layers() const { return static_cast<int32_t>(kv_prompt_tokens.size()); }
};

// The next token of a running sequence.
struct DecodeItem {
  SequenceId id = 0;
};

// Prompt tokens [token_begin, token_end) through layers [0, trunk_layers).
struct TrunkItem {
  SequenceId id = 0;
  int64_t token_begin = 0;
  int64_t token_end = 0;
};

// The whole prompt's candidates through skipping layers [layer_begin, layer_end).
struct SkipItem {
  SequenceId id = 0;
  int32_t layer_begin = 0;
  int32_t layer_end = 0;
};

struct StepPlan {
  std::vector<DecodeItem> decodes;
  std::vector<TrunkItem> trunks;
  std::vector<SkipItem> skips;
  // Idle sequences that had to give their blocks to ordinary ones: gone from the scheduler.
  std::vector<SequenceId> dropped;

  // No work; some may have been dropped.
  bool empty() const { return decodes.empty() && trunks.empty() && skips.empty(); }
};

// The blocks of one layer of one sequence, in token order.
struct BlockTable {
  std::vector<BlockId> blocks;
};

}  // namespace skipserve
