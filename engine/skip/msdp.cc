#include "engine/skip/msdp.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "engine/status_macros.h"

namespace skipserve {

absl::StatusOr<CandidateSet> CandidateSet::Create(int64_t prompt_tokens, Ops& ops) {
  CandidateSet set;
  const size_t bytes = prompt_tokens * sizeof(int32_t);
  ASSIGN_OR_RETURN(set.current_, ops.Allocate(bytes));
  ASSIGN_OR_RETURN(set.next_, ops.Allocate(bytes));
  std::vector<int32_t> all(prompt_tokens);
  std::iota(all.begin(), all.end(), 0);
  ops.Upload(all.data(), set.current_.data(), bytes);
  set.size_ = prompt_tokens;
  return set;
}

void CandidateSet::Cut(const float* scores, int64_t keep, const SkipPolicy& policy, int32_t* rows,
                       Ops& ops) {
  ops.SelectTop(scores, size_, keep, policy.sink, std::max<int64_t>(1, policy.recent), rows);
  ops.GatherIndex(positions(), IndexView{rows, keep}, next_.i32());
  std::swap(current_, next_);
  size_ = keep;
}

}  // namespace skipserve
