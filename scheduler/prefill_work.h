// How much of a prefill a time buys: chunks of the trunk, slices of skipping layers. Closed forms
// only, so a plan costs the same for a prompt of a hundred tokens and of a million.
#pragma once

#include <cstdint>

#include "scheduler/cost_model.h"
#include "scheduler/types.h"

namespace skipserve {

// Prompt tokens [begin, end) in the trunk: each query sees itself and all keys before it.
Work TrunkWork(const SequenceShape& shape, int64_t begin, int64_t end);

// Skipping layers from one point to another, begin <= end.
Work SkipWork(const SequenceShape& shape, SkipPoint begin, SkipPoint end);

// One step's part of one sequence's prefill, up to its end.
struct TrunkPiece {
  int64_t end = 0;
  Work work;
  double seconds = 0;
};
struct SkipPiece {
  SkipPoint end;
  Work work;
  double seconds = 0;
};

// The largest chunk from `begin` on that takes at most `seconds`, at most `max_tokens` (>=
// min_tokens) long and ending at a multiple of `min_tokens` or with the prompt. Where none fits,
// the smallest: the caller decides whether to run it. begin < prompt_tokens.
TrunkPiece NextChunk(const SequenceShape& shape, int64_t begin, int64_t min_tokens,
                     int64_t max_tokens, double seconds, const CostModel& cost);

// Likewise the longest slice from `begin` on, which may end inside a layer: where the rows that it
// has attended, or fed forward, come to a multiple of `min_rows`. begin.layer < layers().
SkipPiece NextSlice(const SequenceShape& shape, SkipPoint begin, int64_t min_rows, double seconds,
                    const CostModel& cost);

}  // namespace skipserve
