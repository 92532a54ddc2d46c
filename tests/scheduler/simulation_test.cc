// Thousands of random lives of a scheduler. A failure names its seed.
#include "simulation.h"

#include <string>

#include "gtest/gtest.h"

namespace skipserve {
namespace {

constexpr uint64_t kSeedsPerCase = 1000;

class SimulationTest : public testing::TestWithParam<uint64_t> {};

TEST_P(SimulationTest, KeepsEveryRule) {
  SimulationResult sum;
  for (uint64_t i = 0; i < kSeedsPerCase; ++i) {
    const uint64_t seed = GetParam() * kSeedsPerCase + i;
    const SimulationResult result = Simulate(seed);
    ASSERT_TRUE(result.status.ok())
        << "seed " << seed << ", step " << result.steps << ": " << result.status;
    sum += result;
  }
  // Every rule has been put to the test, many times.
  EXPECT_GT(sum.steps, 10000);
  EXPECT_GT(sum.finished_dense, 500);
  EXPECT_GT(sum.finished_skipping, 500);
  EXPECT_GT(sum.cancelled, 200);
  EXPECT_GT(sum.failed_steps, 500);
  EXPECT_GT(sum.queue_full, 200);
  EXPECT_GT(sum.never_fits, 200);
  EXPECT_GT(sum.over_budget, 500);
  EXPECT_GT(sum.held_back_by_blocks, 500);
  EXPECT_GT(sum.shared_prefill, 200);
  EXPECT_GT(sum.finished_idle, 200);
  EXPECT_GT(sum.idle_steps, 2000);
  EXPECT_GT(sum.idle_waits, 500);
  EXPECT_GT(sum.idle_drops, 100);
  RecordProperty("steps", std::to_string(sum.steps));
}

INSTANTIATE_TEST_SUITE_P(Seeds, SimulationTest, testing::Range<uint64_t>(0, 10));

TEST(Determinism, TheSameSeedGivesTheSamePlans) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const SimulationResult first = Simulate(seed);
    const SimulationResult second = Simulate(seed);
    ASSERT_EQ(first.fingerprint, second.fingerprint) << "seed " << seed;
    ASSERT_EQ(first.steps, second.steps) << "seed " << seed;
  }
  EXPECT_NE(Simulate(1).fingerprint, Simulate(2).fingerprint);
}

}  // namespace
}  // namespace skipserve
