// How much of a prefill a time buys: chunks of the trunk, slices of skipping layers. Closed forms
// only, so a plan costs the same for a prompt of a hundred tokens and of a million.
#pragma once

#include <cstdint>

#include "scheduler/cost_model.h"
#include "scheduler/types.h"

namespace skipserve {

// Prompt tokens [begin, end) through `layers` layers of the trunk: each query sees itself and all
// keys before it.
Work TrunkWork(const SequenceShape& shape, int64_t begin, int64_t end, int32_t layers);

// Skipping layers from one point to another, begin <= end.
Work SkipWork(const SequenceShape& shape, SkipPoint begin, SkipPoint end);

// All of a prompt's prefill that is left where tokens [0, begin) have passed the trunk.
Work PrefillWork(const SequenceShape& shape, int64_t begin);

// One step's part of one sequence's prefill, up to its end.
struct TrunkPiece {
  int64_t token_end = 0;
  int32_t layer_end = 0;
  Work work;
  double seconds = 0;
};
struct SkipPiece {
  SkipPoint end;
  Work work;
  double seconds = 0;
};

// Where a sequence's trunk is: before layer `layer` of the chunk [begin, end); with layer 0 the
// chunk's end is yet to be chosen.
struct TrunkPoint {
  int64_t begin = 0;
  int64_t end = 0;
  int32_t layer = 0;
};

// The most layers from `at` on that take at most `seconds`, one at least: the caller decides
// whether to run it. A new chunk is as long as one layer of it fits in `seconds`, at most
// `max_tokens` (>= min_tokens), ending at a multiple of `min_tokens` or with the prompt, and where
// none fits the smallest: long chunks through few layers cost less than short ones through many.
TrunkPiece NextChunk(const SequenceShape& shape, TrunkPoint at, int64_t min_tokens,
                     int64_t max_tokens, double seconds, const CostModel& cost);

// Likewise the longest slice from `begin` on, which may end inside a layer: where the rows that it
// has attended, or fed forward, come to a multiple of `min_rows`. begin.layer < layers().
SkipPiece NextSlice(const SequenceShape& shape, SkipPoint begin, int64_t min_rows, double seconds,
                    const CostModel& cost);

}  // namespace skipserve
