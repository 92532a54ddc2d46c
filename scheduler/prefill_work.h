// How much of a prefill a budget of FLOPs buys: chunks of the trunk, slices of skipping layers.
// Closed forms only, so a plan costs the same for a prompt of a hundred tokens and of a million.
#pragma once

#include <cstdint>

#include "scheduler/types.h"

namespace skipserve {

// One step's part of one sequence's prefill: up to token (trunk) or layer (skipping) `end`.
struct PrefillPiece {
  int64_t end = 0;
  double flops = 0;
};

// Work of prompt tokens [begin, end) in the trunk: each query sees itself and all keys before it.
double TrunkFlops(const SequenceShape& shape, int64_t begin, int64_t end);

// The largest chunk from `begin` on that fits in `flops`, at most `max_tokens` (>= min_tokens)
// long and ending at a multiple of `min_tokens` or with the prompt. Where none fits, the smallest:
// the caller decides whether to run it. begin < prompt_tokens.
PrefillPiece NextChunk(const SequenceShape& shape, int64_t begin, int64_t min_tokens,
                       int64_t max_tokens, double flops);

// Likewise the most skipping layers from `layer_begin` on, at least one. layer_begin < layers().
PrefillPiece NextSlice(const SequenceShape& shape, int32_t layer_begin, double flops);

}  // namespace skipserve
