// MSDP, Multi-Stage Delayed Pruning: the candidate set T of one sequence with its scores, and the
// only place where it shrinks.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "engine/skip/policy.h"
#include "kernels/ops.h"

namespace skipserve {

// How many of the last positions are always among `count` rows: `recent` where there is room
// behind the sinks, so that in a short prompt it is never the end, with its question, that goes.
int64_t LastOf(const SkipPolicy& policy, int64_t count);

class CandidateSet {
 public:
  // All of the prompt's positions.
  static absl::StatusOr<CandidateSet> Create(int64_t prompt_tokens, Ops& ops);

  // Positions in the prompt, ascending.
  IndexView positions() const { return {current_.i32(), size_}; }

  // One per candidate, from the layers that have probed so far; undefined where none has.
  float* scores() { return scores_.f32(); }

  // Keeps the `keep` best by score, among them always the policy's sink and recent positions. A
  // token that is cut never returns. `rows`: scratch for `keep` row numbers.
  void Cut(int64_t keep, const SkipPolicy& policy, int32_t* rows, Ops& ops);

 private:
  Buffer current_, next_;
  Buffer scores_, next_scores_;
  int64_t size_ = 0;
};

}  // namespace skipserve
