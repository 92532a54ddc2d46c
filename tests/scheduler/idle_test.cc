// Idle sequences: they work only while nobody else is there, and give way at once.
#include "absl/strings/match.h"
#include "shapes.h"

namespace skipserve {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Phase = Scheduler::Phase;

TEST(Idle, GoesThroughAllPhasesWhileNobodyIsThere) {
  Scheduler scheduler(SmallOptions());
  ASSERT_THAT(scheduler.AddIdle(1, SkippingShape(4, 8, 3, 3)), IsOk());
  EXPECT_FALSE(scheduler.idle());
  for (const Phase phase : {Phase::kTrunk, Phase::kSkipping, Phase::kSkipping, Phase::kDecode}) {
    const StepPlan plan = scheduler.Plan(kNow);
    EXPECT_EQ(scheduler.phase(1), phase);
    scheduler.Commit(plan);
  }
  EXPECT_EQ(scheduler.kv_tokens(1, 0), 9);
  EXPECT_THAT(scheduler.CheckInvariants(), IsOk());
  EXPECT_TRUE(scheduler.Remove(1));
  EXPECT_TRUE(scheduler.idle());
  EXPECT_EQ(scheduler.load().blocks_used, 0);
  EXPECT_EQ(scheduler.load().blocks_reserved, 0);
}

TEST(Idle, WorksOnlyInStepsWithoutOrdinarySequences) {
  Scheduler scheduler(SmallOptions());
  ASSERT_THAT(scheduler.AddIdle(1, DenseShape(4, 32, 3)), IsOk());
  scheduler.Commit(scheduler.Plan(kNow));
  ASSERT_THAT(scheduler.Add(2, DenseShape(4, 40, 3)), IsOk());
  for (auto [begin, end] : {std::pair{0, 32}, {32, 40}}) {
    const StepPlan plan = scheduler.Plan(kNow);
    EXPECT_THAT(plan.trunks, ElementsAre(IsTrunk(2, begin, end)));
    scheduler.Commit(plan);
  }
  for (int i = 0; i < 2; ++i) {
    const StepPlan plan = scheduler.Plan(kNow);
    EXPECT_THAT(plan.decodes, ElementsAre(IsDecode(2)));
    EXPECT_THAT(plan.trunks, IsEmpty());
    scheduler.Commit(plan);
  }
  scheduler.Remove(2);
  EXPECT_THAT(scheduler.Plan(kNow).trunks, ElementsAre(IsSlice(1, 0, 32, 1, 2)));
}

TEST(Idle, StepsAreAsSmallAsThoseBesideDecodes) {
  Scheduler scheduler(SmallOptions());  // 10 seconds a busy step: one layer of 32 tokens
  ASSERT_THAT(scheduler.AddIdle(1, DenseShape(4, 100, 3)), IsOk());
  EXPECT_THAT(scheduler.Plan(kNow).trunks, ElementsAre(IsSlice(1, 0, 32, 0, 1)));
}

TEST(Idle, TakesNoSlotFromOrdinarySequences) {
  Scheduler::Options options = SmallOptions();
  options.max_running = options.max_prefilling = 1;
  Scheduler scheduler(options);
  ASSERT_THAT(scheduler.AddIdle(1, DenseShape(4, 8, 3)), IsOk());
  scheduler.Commit(scheduler.Plan(kNow));
  ASSERT_THAT(scheduler.Add(2, DenseShape(4, 8, 3)), IsOk());
  EXPECT_THAT(scheduler.Plan(kNow).trunks, ElementsAre(IsTrunk(2, 0, 8)));
  EXPECT_EQ(scheduler.load().prefilling, 1);
  EXPECT_EQ(scheduler.load().decoding, 0);
  EXPECT_THAT(scheduler.CheckInvariants(), IsOk());
}

TEST(Idle, IsDroppedWhereItsBlocksAreNeeded) {
  Scheduler scheduler(SmallOptions(/*num_blocks=*/23));
  ASSERT_THAT(scheduler.AddIdle(1, DenseShape(4, 8, 5)), IsOk());  // 12 blocks
  scheduler.Commit(scheduler.Plan(kNow));
  EXPECT_EQ(scheduler.load().blocks_reserved, 12);
  ASSERT_THAT(scheduler.Add(2, DenseShape(4, 8, 5)), IsOk());
  const StepPlan plan = scheduler.Plan(kNow);
  EXPECT_THAT(plan.dropped, ElementsAre(1));
  EXPECT_THAT(plan.trunks, ElementsAre(IsTrunk(2, 0, 8)));
  EXPECT_EQ(scheduler.load().blocks_used, 8);
  EXPECT_EQ(scheduler.load().blocks_reserved, 12);
  EXPECT_FALSE(scheduler.Remove(1));
  EXPECT_THAT(scheduler.Plan(kNow).dropped, IsEmpty());
  EXPECT_THAT(scheduler.CheckInvariants(), IsOk());
}

TEST(Idle, KeepsItsBlocksWhereThereIsRoomForBoth) {
  Scheduler scheduler(SmallOptions(/*num_blocks=*/24));
  ASSERT_THAT(scheduler.AddIdle(1, DenseShape(4, 8, 5)), IsOk());
  scheduler.Commit(scheduler.Plan(kNow));
  ASSERT_THAT(scheduler.Add(2, DenseShape(4, 8, 5)), IsOk());
  EXPECT_THAT(scheduler.Plan(kNow).dropped, IsEmpty());
  EXPECT_EQ(scheduler.phase(1), Phase::kDecode);
}

TEST(Idle, OneRunsWhileTheOthersHoldNothing) {
  Scheduler scheduler(SmallOptions(/*num_blocks=*/12));
  for (SequenceId id : {1, 2}) ASSERT_THAT(scheduler.AddIdle(id, DenseShape(4, 8, 5)), IsOk());
  scheduler.Commit(scheduler.Plan(kNow));
  EXPECT_EQ(scheduler.phase(2), Phase::kWaiting);
  scheduler.Remove(1);
  EXPECT_THAT(scheduler.Plan(kNow).trunks, ElementsAre(IsTrunk(2, 0, 8)));
}

TEST(Idle, IsBoundedInNumberAndSize) {
  Scheduler scheduler(SmallOptions(/*num_blocks=*/12));  // max_idle 2
  for (SequenceId id : {1, 2}) ASSERT_THAT(scheduler.AddIdle(id, DenseShape(4, 8, 5)), IsOk());
  const absl::Status full = scheduler.AddIdle(3, DenseShape(4, 8, 5));
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(absl::StartsWith(full.message(), Scheduler::kQueueFull));
  scheduler.Remove(2);
  const absl::Status large = scheduler.AddIdle(3, DenseShape(4, 8, 6));
  EXPECT_TRUE(absl::StartsWith(large.message(), Scheduler::kNeverFits));
  EXPECT_EQ(scheduler.AddIdle(1, DenseShape(4, 8, 5)).code(), absl::StatusCode::kAlreadyExists);
}

}  // namespace
}  // namespace skipserve
