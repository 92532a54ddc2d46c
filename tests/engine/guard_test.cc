// The guard over levels, with a clock of the test's: when it acts, what it serves, how it recovers.
#include "engine/skip/guard.h"

#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace skipserve {
namespace {

using testing::IsEmpty;
using Kind = LevelChange::Kind;

class GuardTest : public testing::Test {
 protected:
  // Canaries of one level, one like the other; the last one's change.
  std::optional<LevelChange> Measure(const std::string& level, double kl, int count) {
    std::optional<LevelChange> change;
    for (int i = 0; i < count; ++i) {
      EXPECT_FALSE(change.has_value()) << "canary " << i;
      change = guard_.Measured(level, kl, now_);
    }
    return change;
  }
  std::string Served(const std::string& level) { return guard_.Serve(level, now_).level; }

  absl::Time now_ = absl::UnixEpoch() + absl::Hours(1);
  LevelGuard guard_{{"gentle", "balanced", "fast"}, {.max_kl = 0.25, .hold = absl::Minutes(5)}};
};

TEST_F(GuardTest, ServesWhatIsAskedForWhileNothingIsKnown) {
  for (const char* level : {"gentle", "balanced", "fast", "off", "custom", "nonesuch"}) {
    EXPECT_EQ(Served(level), level);
    EXPECT_EQ(guard_.Serve(level, now_).reason, "");
  }
  EXPECT_THAT(guard_.Fallbacks(now_), IsEmpty());
}

TEST_F(GuardTest, FourCanariesBeyondTheLimitAreEnoughAndThreeAreNot) {
  EXPECT_FALSE(Measure("fast", 0.31, 3));
  EXPECT_EQ(Served("fast"), "fast");
  const auto change = Measure("fast", 0.31, 1);
  ASSERT_TRUE(change.has_value());
  EXPECT_EQ(change->kind, Kind::kFellBack);
  EXPECT_EQ(change->level.level, "fast");
  EXPECT_EQ(change->level.served_by, "balanced");
  EXPECT_NEAR(change->level.kl, 0.31, 1e-12);
  EXPECT_EQ(change->level.retry_in, absl::Minutes(5));
  const LevelGuard::Served served = guard_.Serve("fast", now_);
  EXPECT_EQ(served.level, "balanced");
  EXPECT_EQ(served.reason, "level fast fell back to balanced: canary KL 0.31 over 0.25");
  EXPECT_EQ(Served("balanced"), "balanced");
  now_ += absl::Minutes(1);
  ASSERT_EQ(guard_.Fallbacks(now_).size(), 1u);
  EXPECT_EQ(guard_.Fallbacks(now_)[0].retry_in, absl::Minutes(4));
}

TEST_F(GuardTest, AtTheLimitIsNotBeyondIt) {
  EXPECT_FALSE(Measure("fast", 0.25, 40));
  EXPECT_EQ(Served("fast"), "fast");
}

TEST_F(GuardTest, OnlyTheLastSixteenCount) {
  EXPECT_FALSE(Measure("fast", 0, 100));
  EXPECT_FALSE(Measure("fast", 0.4, 10));  // mean of 16: 0.25
  EXPECT_TRUE(Measure("fast", 0.4, 1));
}

TEST_F(GuardTest, FallsThroughLevelsThatFellBackThemselvesDownToDense) {
  EXPECT_TRUE(Measure("balanced", 1, 4));
  EXPECT_EQ(Measure("fast", 1, 4)->level.served_by, "gentle");
  EXPECT_EQ(Served("balanced"), "gentle");
  EXPECT_EQ(Measure("gentle", 1, 4)->level.served_by, "off");
  for (const char* level : {"gentle", "balanced", "fast"}) EXPECT_EQ(Served(level), "off");
  EXPECT_EQ(guard_.Fallbacks(now_).size(), 3u);
  EXPECT_EQ(guard_.Serve("fast", now_).reason,
            "level fast fell back to off: canary KL 1 over 0.25");
}

TEST_F(GuardTest, CustomPoliciesAreNeverOverridden) {
  EXPECT_FALSE(Measure("custom", 9, 40));
  EXPECT_EQ(Served("custom"), "custom");
  EXPECT_THAT(guard_.Fallbacks(now_), IsEmpty());
}

TEST_F(GuardTest, TriesAgainAfterTheHoldAndRecovers) {
  EXPECT_TRUE(Measure("fast", 1, 4));
  EXPECT_FALSE(Measure("fast", 9, 10)) << "canaries from before count no more";
  now_ += absl::Minutes(5) - absl::Seconds(1);
  EXPECT_THAT(guard_.TakeRetries(now_), IsEmpty());
  EXPECT_EQ(Served("fast"), "balanced");
  now_ += absl::Seconds(1);
  EXPECT_EQ(Served("fast"), "fast");
  EXPECT_THAT(guard_.Fallbacks(now_), IsEmpty());
  const std::vector<LevelChange> retries = guard_.TakeRetries(now_);
  ASSERT_EQ(retries.size(), 1u);
  EXPECT_EQ(retries[0].kind, Kind::kRetried);
  EXPECT_EQ(retries[0].level.level, "fast");
  EXPECT_THAT(guard_.TakeRetries(now_), IsEmpty());
  const auto recovered = Measure("fast", 0.1, 4);
  ASSERT_TRUE(recovered.has_value());
  EXPECT_EQ(recovered->kind, Kind::kRecovered);
  EXPECT_NEAR(recovered->level.kl, 0.1, 1e-12);
  EXPECT_FALSE(Measure("fast", 0.1, 20));
}

TEST_F(GuardTest, HoldsDoubleUpToEightfoldUntilAWholeWindowIsGood) {
  for (const int factor : {1, 2, 4, 8, 8}) {
    const auto change = Measure("fast", 1, 4);
    ASSERT_TRUE(change.has_value()) << factor;
    EXPECT_EQ(change->level.retry_in, absl::Minutes(5) * factor);
    now_ += change->level.retry_in;
    guard_.TakeRetries(now_);
  }
  EXPECT_TRUE(Measure("fast", 0, 4));  // recovered, but not yet trusted
  EXPECT_FALSE(Measure("fast", 0, 11));
  const auto distrusted = Measure("fast", 100, 1);
  ASSERT_TRUE(distrusted.has_value());
  EXPECT_EQ(distrusted->level.retry_in, absl::Minutes(40));
  now_ += absl::Minutes(40);
  guard_.TakeRetries(now_);
  EXPECT_TRUE(Measure("fast", 0, 4));
  EXPECT_FALSE(Measure("fast", 0, 12));
  EXPECT_EQ(Measure("fast", 100, 1)->level.retry_in, absl::Minutes(5));
}

TEST_F(GuardTest, ThreadsMayShareIt) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      for (int i = 0; i < 500; ++i) {
        const absl::Time now = now_ + absl::Minutes(i);
        guard_.Measured(t % 2 ? "fast" : "balanced", i % 7 ? 0.1 : 3, now);
        guard_.TakeRetries(now);
        EXPECT_NE(guard_.Serve("fast", now).level, "");
        guard_.Fallbacks(now);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace skipserve
