#include "engine/skip/msdp.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "engine/status_macros.h"

namespace skipserve {

int64_t LastOf(const SkipPolicy& policy, int64_t count) {
  return std::max<int64_t>(1, std::min(policy.recent, count - policy.sink));
}

absl::StatusOr<CandidateSet> CandidateSet::Create(int64_t prompt_tokens, Ops& ops) {
  CandidateSet set;
  const size_t bytes = prompt_tokens * sizeof(int32_t);
  ASSIGN_OR_RETURN(set.current_, ops.Allocate(bytes));
  ASSIGN_OR_RETURN(set.next_, ops.Allocate(bytes));
  ASSIGN_OR_RETURN(set.scores_, ops.Allocate(prompt_tokens * sizeof(float)));
  ASSIGN_OR_RETURN(set.next_scores_, ops.Allocate(prompt_tokens * sizeof(float)));
  std::vector<int32_t> all(prompt_tokens);
  std::iota(all.begin(), all.end(), 0);
  ops.Upload(all.data(), set.current_.data(), bytes);
  set.size_ = prompt_tokens;
  return set;
}

void CandidateSet::Cut(int64_t keep, const SkipPolicy& policy, int32_t* rows, Ops& ops) {
  ops.SelectTop(scores(), size_, keep, policy.sink, LastOf(policy, keep), rows);
  const IndexView kept{rows, keep};
  ops.GatherIndex(positions(), kept, next_.i32());
  ops.GatherRows(TensorView(scores(), size_, 1), kept, TensorView(next_scores_.f32(), keep, 1));
  std::swap(current_, next_);
  std::swap(scores_, next_scores_);
  size_ = keep;
}

}  // namespace skipserve
