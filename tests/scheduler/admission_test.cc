// Who is admitted, in which order, and what holds the others back.
#include "shapes.h"

namespace skipserve {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Phase = Scheduler::Phase;

TEST(Admission, IsInOrderOfArrival) {
  Scheduler::Options options = SmallOptions();
  options.max_prefilling = 3;
  Scheduler scheduler(options);
  for (SequenceId id : {7, 3, 5}) ASSERT_THAT(scheduler.Add(id, DenseShape(4, 8, 4)), IsOk());
  EXPECT_EQ(scheduler.phase(7), Phase::kWaiting);
  EXPECT_THAT(scheduler.Plan(kNow).trunks,
              ElementsAre(IsTrunk(7, 0, 8), IsTrunk(3, 0, 8), IsTrunk(5, 0, 8)));
  EXPECT_EQ(scheduler.phase(7), Phase::kTrunk);
}

TEST(Admission, StopsAtMaxPrefilling) {
  Scheduler scheduler(SmallOptions());  // 2
  for (SequenceId id : {1, 2, 3}) ASSERT_THAT(scheduler.Add(id, DenseShape(4, 8, 4)), IsOk());
  StepPlan plan = scheduler.Plan(kNow);
  EXPECT_EQ(scheduler.phase(3), Phase::kWaiting);
  scheduler.Commit(plan);
  scheduler.Plan(kNow);
  EXPECT_EQ(scheduler.phase(3), Phase::kTrunk);
}

TEST(Admission, StopsAtMaxRunning) {
  Scheduler::Options options = SmallOptions();
  options.max_running = 2;
  options.max_prefilling = 10;
  Scheduler scheduler(options);
  for (SequenceId id : {1, 2, 3}) ASSERT_THAT(scheduler.Add(id, DenseShape(4, 8, 9)), IsOk());
  scheduler.Commit(scheduler.Plan(kNow));
  scheduler.Commit(scheduler.Plan(kNow));
  EXPECT_EQ(scheduler.phase(3), Phase::kWaiting);
  scheduler.Remove(2);
  scheduler.Plan(kNow);
  EXPECT_EQ(scheduler.phase(3), Phase::kTrunk);
}

TEST(Admission, CountsTheWholeNeedNotWhatIsUsedNow) {
  // 4 layers x ceil((8 + 5 - 1) / 4) = 12 blocks each; the prompt alone uses 8.
  Scheduler scheduler(SmallOptions(/*num_blocks=*/23));
  for (SequenceId id : {1, 2}) ASSERT_THAT(scheduler.Add(id, DenseShape(4, 8, 5)), IsOk());
  scheduler.Commit(scheduler.Plan(kNow));
  EXPECT_EQ(scheduler.phase(2), Phase::kWaiting);
  EXPECT_EQ(scheduler.load().blocks_reserved, 12);
  EXPECT_EQ(scheduler.load().blocks_used, 8);
  scheduler.Remove(1);
  scheduler.Plan(kNow);
  EXPECT_EQ(scheduler.phase(2), Phase::kTrunk);
}

TEST(Admission, FillsThePoolToTheLastBlock) {
  Scheduler scheduler(SmallOptions(/*num_blocks=*/24));
  for (SequenceId id : {1, 2}) ASSERT_THAT(scheduler.Add(id, DenseShape(4, 8, 5)), IsOk());
  scheduler.Plan(kNow);
  EXPECT_EQ(scheduler.phase(2), Phase::kTrunk);
  EXPECT_EQ(scheduler.load().blocks_reserved, 24);
}

TEST(Admission, NobodyOvertakesTheHead) {
  Scheduler scheduler(SmallOptions(/*num_blocks=*/20));
  ASSERT_THAT(scheduler.Add(1, DenseShape(4, 8, 5)), IsOk());   // 12 blocks
  ASSERT_THAT(scheduler.Add(2, DenseShape(4, 16, 5)), IsOk());  // 20
  ASSERT_THAT(scheduler.Add(3, DenseShape(4, 1, 1)), IsOk());   // 4: it would fit
  scheduler.Commit(scheduler.Plan(kNow));
  EXPECT_EQ(scheduler.phase(2), Phase::kWaiting);
  EXPECT_EQ(scheduler.phase(3), Phase::kWaiting);
  scheduler.Remove(2);
  scheduler.Plan(kNow);
  EXPECT_EQ(scheduler.phase(3), Phase::kTrunk);
}

TEST(Admission, TakesNoBlocksByItself) {
  Scheduler::Options options = SmallOptions();
  options.idle_step_seconds = 8;  // one minimal chunk
  Scheduler scheduler(options);
  for (SequenceId id : {1, 2}) ASSERT_THAT(scheduler.Add(id, DenseShape(4, 8, 5)), IsOk());
  EXPECT_THAT(scheduler.Plan(kNow).trunks, ElementsAre(IsTrunk(1, 0, 8)));
  EXPECT_EQ(scheduler.phase(2), Phase::kTrunk);
  for (const BlockTable& table : scheduler.tables(2)) EXPECT_THAT(table.blocks, IsEmpty());
  EXPECT_EQ(scheduler.load().blocks_used, 8);
  EXPECT_EQ(scheduler.load().blocks_reserved, 24);
}

TEST(Admission, RemembersWhenItWas) {
  Scheduler scheduler(SmallOptions());
  ASSERT_THAT(scheduler.Add(1, DenseShape(4, 8, 5)), IsOk());
  EXPECT_EQ(scheduler.admitted_at(1), absl::InfiniteFuture());
  scheduler.Plan(kNow + absl::Seconds(1));
  scheduler.Plan(kNow + absl::Seconds(2));
  EXPECT_EQ(scheduler.admitted_at(1), kNow + absl::Seconds(1));
}

}  // namespace
}  // namespace skipserve
