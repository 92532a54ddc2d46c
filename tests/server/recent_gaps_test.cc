// What the recent gaps say against the definition, and what they forget.
#include "server/recent_gaps.h"

#include <algorithm>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace skipserve {
namespace {

const absl::Time kBegin = absl::FromUnixSeconds(1'000'000);

TEST(RecentGaps, NoneAreZero) {
  RecentGaps gaps;
  const GapFigures none = gaps.Figures(kBegin);
  EXPECT_EQ(none.count, 0);
  EXPECT_EQ(none.longest, absl::ZeroDuration());
}

TEST(RecentGaps, QuantilesAreTheDefinitions) {
  std::mt19937 random(5);
  for (int64_t n : {1, 2, 3, 99, 100, 101, 199, 200, 201, 1000}) {
    RecentGaps gaps;
    std::vector<absl::Duration> all;
    for (int64_t i = 0; i < n; ++i) {
      all.push_back(absl::Microseconds(static_cast<int64_t>(random() % 5000)));
      gaps.Add(all.back(), kBegin);
    }
    const auto no_longer = [&](absl::Duration limit) {
      return std::count_if(all.begin(), all.end(), [&](absl::Duration d) { return d <= limit; });
    };
    const GapFigures figures = gaps.Figures(kBegin);
    EXPECT_EQ(figures.count, n);
    EXPECT_EQ(figures.longest, *std::max_element(all.begin(), all.end()));
    // The smallest gaps that so large a share is no longer than.
    for (const auto& [value, share] : {std::pair(figures.median, 50), {figures.p99, 99}}) {
      EXPECT_GE(100 * no_longer(value), share * n) << n;
      EXPECT_LT(100 * no_longer(value - absl::Nanoseconds(1)), share * n) << n;
    }
  }
}

TEST(RecentGaps, TheWindowPassesAndMemoryIsBounded) {
  RecentGaps gaps(absl::Seconds(10), /*most=*/3);
  gaps.Add(absl::Seconds(4), kBegin);
  gaps.Add(absl::Seconds(1), kBegin + absl::Seconds(5));
  EXPECT_EQ(gaps.Figures(kBegin + absl::Seconds(10)).count, 2);
  EXPECT_EQ(gaps.Figures(kBegin + absl::Seconds(11)).longest, absl::Seconds(1));
  EXPECT_EQ(gaps.Figures(kBegin + absl::Seconds(16)).count, 0);
  for (int i = 1; i <= 5; ++i) gaps.Add(absl::Seconds(6 - i), kBegin + absl::Seconds(20));
  const GapFigures latest = gaps.Figures(kBegin + absl::Seconds(20));
  EXPECT_EQ(latest.count, 3);
  EXPECT_EQ(latest.longest, absl::Seconds(3));
}

}  // namespace
}  // namespace skipserve
