// Plain values the scheduler and the step loop exchange. Host logic only: no tensors, no threads,
// no clock.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "scheduler/cost_model.h"

namespace skipserve {

using SequenceId = uint64_t;
using BlockId = int32_t;

// Names one full block of a prompt's tokens and all before it, the layers that were computed for
// them, and who may share them: equal keys mean equal KV. 128 bits of a cryptographic digest.
struct PrefixKey {
  uint64_t high = 0;
  uint64_t low = 0;
  bool operator==(const PrefixKey&) const = default;
};
struct PrefixKeyHash {
  size_t operator()(const PrefixKey& key) const { return key.low; }
};

// The work of one skipping layer of a prompt: `rows` tokens attend, then as many feed forward.
struct SkipLayer {
  int64_t rows = 0;        // as many as its cache takes
  double key_flops = 0;    // of keys that are projected for all candidates, before the first row
  double probe_flops = 0;  // likewise of the scores
  double ffn_probe_flops = 0;  // before the first row feeds forward
  double attention_flops_per_row = 0;
  double attention_flops_per_pair = 0;  // (query, key) among the rows, causal
  double ffn_flops_per_row = 0;
};

// How far a prompt is in its skipping layers: before row `row` of 2 * SkipLayer::rows of a layer,
// first the rows that attend, then the rows that feed forward. A whole layer is {layer + 1, 0}.
struct SkipPoint {
  int32_t layer = 0;
  int64_t row = 0;
  bool operator==(const SkipPoint&) const = default;
};

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
  std::vector<SkipLayer> skip_layers;  // layers trunk_layers .. layers - 1
  // FLOPs of one layer of the trunk: per token, and per (query, key) pair.
  double trunk_flops_per_token = 0;
  double trunk_flops_per_pair = 0;
  // By full block of the prompt. Empty: the prompt takes nothing from the prefix cache and leaves
  // nothing there.
  std::vector<PrefixKey> prefix_keys;
  // Only reads the trunk, for the prefix cache; kv_prompt_tokens are 0 behind it.
  bool prefix_only = false;
  int32_t priority = 0;  // a higher one comes first, and is preempted last
  std::string client;    // whose it is: clients share the machine evenly while both wait

  int32_t layers() const { return static_cast<int32_t>(kv_prompt_tokens.size()); }
};

// The next token of a running sequence.
struct DecodeItem {
  SequenceId id = 0;
};

// A chunk of prompt tokens [token_begin, token_end) through layers [layer_begin, layer_end) of the
// trunk. The slices of a chunk come in order, and the next chunk after them.
struct TrunkItem {
  SequenceId id = 0;
  int64_t token_begin = 0;
  int64_t token_end = 0;
  int32_t layer_begin = 0;
  int32_t layer_end = 0;
  // Where the hidden states that leave the trunk are kept for the prefix cache: of the prompt's
  // blocks from `first_state_block` on, state_blocks each. All their tokens are before token_end.
  // Only with a chunk's last slice.
  int64_t first_state_block = 0;
  std::vector<BlockId> states;
};

// A prompt through its skipping layers, from one point to another.
struct SkipItem {
  SequenceId id = 0;
  SkipPoint begin;
  SkipPoint end;
};

struct StepPlan {
  std::vector<DecodeItem> decodes;
  std::vector<TrunkItem> trunks;
  std::vector<SkipItem> skips;
  Work work;  // of all of them
  // Sequences that had to give their blocks to others before the rest of the plan: they wait again,
  // from their beginning, and what they had generated must be decoded again.
  std::vector<SequenceId> preempted;
  // Idle sequences that had to give their blocks to ordinary ones: gone from the scheduler.
  std::vector<SequenceId> dropped;

  // No work; some may have been dropped or preempted.
  bool empty() const { return decodes.empty() && trunks.empty() && skips.empty(); }
};

// The blocks of one layer of one sequence, in token order.
struct BlockTable {
  std::vector<BlockId> blocks;
};

}  // namespace skipserve
