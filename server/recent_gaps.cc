#include "server/recent_gaps.h"

#include <algorithm>
#include <vector>

namespace skipserve {

void RecentGaps::Forget(absl::Time now) {
  while (!gaps_.empty() && gaps_.front().end < now - window_) gaps_.pop_front();
}

void RecentGaps::Add(absl::Duration gap, absl::Time now) {
  absl::MutexLock lock(&mutex_);
  Forget(now);
  if (gaps_.size() == most_) gaps_.pop_front();
  gaps_.push_back({now, gap});
}

GapFigures RecentGaps::Figures(absl::Time now) {
  std::vector<absl::Duration> lengths;
  {
    absl::MutexLock lock(&mutex_);  // the step thread adds: it must not wait for a sort
    Forget(now);
    for (const Gap& gap : gaps_) lengths.push_back(gap.length);
  }
  if (lengths.empty()) return {};
  std::sort(lengths.begin(), lengths.end());
  const size_t count = lengths.size();
  return {static_cast<int64_t>(count), lengths[(count - 1) / 2],
          lengths[(99 * count + 99) / 100 - 1], lengths.back()};
}

}  // namespace skipserve
