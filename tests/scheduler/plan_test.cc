// What a step computes: decodes always, prefill under the budget, phases in order.
#include "shapes.h"

namespace skipserve {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Phase = Scheduler::Phase;

TEST(Plan, OfNothingIsEmpty) {
  Scheduler scheduler(SmallOptions());
  EXPECT_TRUE(scheduler.Plan(kNow).empty());
  EXPECT_TRUE(scheduler.idle());
}

TEST(Plan, CutsTheTrunkInChunks) {
  Scheduler scheduler(SmallOptions());
  ASSERT_THAT(scheduler.Add(1, DenseShape(4, 69, 5)), IsOk());
  for (auto [begin, end] : {std::pair{0, 32}, {32, 64}, {64, 69}}) {
    StepPlan plan = scheduler.Plan(kNow);
    EXPECT_THAT(plan.trunks, ElementsAre(IsTrunk(1, begin, end)));
    EXPECT_THAT(plan.decodes, IsEmpty());
    EXPECT_THAT(plan.skips, IsEmpty());
    scheduler.Commit(plan);
  }
  EXPECT_EQ(scheduler.phase(1), Phase::kDecode);
}

TEST(Plan, AChunkGoesThroughAsManyLayersAsFit) {
  Scheduler::Options options = SmallOptions();
  options.idle_step_seconds = 30;  // a layer of 32 tokens takes 8
  Scheduler scheduler(options);
  ASSERT_THAT(scheduler.Add(1, DenseShape(4, 69, 5)), IsOk());
  StepPlan plan = scheduler.Plan(kNow);
  EXPECT_THAT(plan.trunks, ElementsAre(IsSlice(1, 0, 32, 0, 3)));
  scheduler.Commit(plan);
  EXPECT_EQ(scheduler.kv_tokens(1, 2), 32);
  EXPECT_EQ(scheduler.kv_tokens(1, 3), 0);
  plan = scheduler.Plan(kNow);
  EXPECT_THAT(plan.trunks, ElementsAre(IsSlice(1, 0, 32, 3, 4)));
  scheduler.Commit(plan);
  EXPECT_THAT(scheduler.Plan(kNow).trunks, ElementsAre(IsSlice(1, 32, 64, 0, 3)));
}

TEST(Plan, WhereALayerOfTheLongestChunkDoesNotFitItIsAShorterOne) {
  Scheduler::Options options = SmallOptions();
  options.idle_step_seconds = 7;  // a layer of 28 tokens: three minimal chunks of 8 are 24
  Scheduler scheduler(options);
  ASSERT_THAT(scheduler.Add(1, DenseShape(4, 69, 5)), IsOk());
  EXPECT_THAT(scheduler.Plan(kNow).trunks, ElementsAre(IsSlice(1, 0, 24, 0, 1)));
}

TEST(Plan, ADenseRequestGoesFromTrunkToDecode) {
  Scheduler scheduler(SmallOptions());
  ASSERT_THAT(scheduler.Add(1, DenseShape(4, 8, 5)), IsOk());
  scheduler.Commit(scheduler.Plan(kNow));
  EXPECT_EQ(scheduler.phase(1), Phase::kDecode);
  StepPlan plan = scheduler.Plan(kNow);
  EXPECT_THAT(plan.decodes, ElementsAre(IsDecode(1)));
  EXPECT_THAT(plan.trunks, IsEmpty());
}

TEST(Plan, SkippingLayersComeAfterTheWholeTrunkAndNotWithIt) {
  Scheduler scheduler(SmallOptions());
  ASSERT_THAT(scheduler.Add(1, SkippingShape(4, 8, 3, 5)), IsOk());
  StepPlan plan = scheduler.Plan(kNow);
  EXPECT_THAT(plan.trunks, ElementsAre(IsTrunk(1, 0, 8)));
  EXPECT_THAT(plan.skips, IsEmpty());
  scheduler.Commit(plan);
  EXPECT_EQ(scheduler.phase(1), Phase::kSkipping);
  plan = scheduler.Plan(kNow);
  EXPECT_THAT(plan.trunks, IsEmpty());
  EXPECT_THAT(plan.skips, ElementsAre(IsSkip(1, 2, 4)));
  EXPECT_THAT(plan.decodes, IsEmpty());
  scheduler.Commit(plan);
  EXPECT_EQ(scheduler.phase(1), Phase::kDecode);
}

TEST(Plan, SlicesAsManyLayersAsTheBudgetAllows) {
  Scheduler::Options options = SmallOptions();
  options.layers = 10;
  options.idle_step_seconds = 29;
  Scheduler scheduler(options);
  ASSERT_THAT(scheduler.Add(1, SkippingShape(10, 8, 3, 5)), IsOk());
  scheduler.Commit(scheduler.Plan(kNow));
  for (auto [begin, end] : {std::pair{5, 7}, {7, 9}, {9, 10}}) {
    StepPlan plan = scheduler.Plan(kNow);
    EXPECT_THAT(plan.skips, ElementsAre(IsSkip(1, begin, end)));
    scheduler.Commit(plan);
  }
  EXPECT_EQ(scheduler.phase(1), Phase::kDecode);
}

TEST(Plan, TheBudgetIsSmallerWhileOthersDecode) {
  Scheduler scheduler(SmallOptions());
  ASSERT_THAT(scheduler.Add(1, DenseShape(4, 8, 50)), IsOk());
  RunPrefill(scheduler, 1);
  ASSERT_THAT(scheduler.Add(2, DenseShape(4, 64, 5)), IsOk());
  StepPlan plan = scheduler.Plan(kNow);
  EXPECT_THAT(plan.decodes, ElementsAre(IsDecode(1)));
  EXPECT_THAT(plan.trunks, ElementsAre(IsSlice(2, 0, 32, 0, 1)));
  scheduler.Remove(1);
  EXPECT_THAT(scheduler.Plan(kNow).trunks, ElementsAre(IsSlice(2, 0, 32, 0, 4)));
}

TEST(Plan, OnePieceAlwaysRuns) {
  Scheduler::Options options = SmallOptions();
  options.idle_step_seconds = 0;
  options.busy_step_seconds = 0;
  Scheduler scheduler(options);
  ASSERT_THAT(scheduler.Add(1, SkippingShape(4, 16, 3, 5)), IsOk());
  ASSERT_THAT(scheduler.Add(2, SkippingShape(4, 16, 3, 5)), IsOk());
  for (auto [begin, end] : {std::pair{0, 8}, {8, 16}}) {
    for (int layer : {0, 1}) {
      StepPlan plan = scheduler.Plan(kNow);
      EXPECT_THAT(plan.trunks, ElementsAre(IsSlice(1, begin, end, layer, layer + 1)));
      scheduler.Commit(plan);
    }
  }
  // Half a layer: its three rows attend, then they feed forward.
  SkipPoint begin = {2, 0};
  for (const SkipPoint end : {SkipPoint{2, 3}, {3, 0}, {3, 3}, {4, 0}}) {
    StepPlan plan = scheduler.Plan(kNow);
    EXPECT_THAT(plan.trunks, IsEmpty());
    ASSERT_EQ(plan.skips.size(), 1u);
    EXPECT_EQ(plan.skips[0].begin, begin);
    EXPECT_EQ(plan.skips[0].end, end);
    scheduler.Commit(plan);
    begin = end;
  }
  StepPlan plan = scheduler.Plan(kNow);
  EXPECT_THAT(plan.decodes, ElementsAre(IsDecode(1)));
  EXPECT_THAT(plan.trunks, ElementsAre(IsTrunk(2, 0, 8)));
}

TEST(Plan, TheOldestPrefillComesFirstAndTheRestGoesOn) {
  Scheduler::Options options = SmallOptions();
  options.idle_step_seconds = 30;
  options.max_prefilling = 3;
  Scheduler scheduler(options);
  ASSERT_THAT(scheduler.Add(1, DenseShape(4, 12, 5)), IsOk());
  ASSERT_THAT(scheduler.Add(2, DenseShape(4, 64, 5)), IsOk());
  ASSERT_THAT(scheduler.Add(3, DenseShape(4, 64, 5)), IsOk());
  // 12 for the first, 16 of the 18 left for two layers of the second, 2 for a little of the third.
  EXPECT_THAT(
      scheduler.Plan(kNow).trunks,
      ElementsAre(IsSlice(1, 0, 12, 0, 4), IsSlice(2, 0, 32, 0, 2), IsSlice(3, 0, 8, 0, 1)));
}

Scheduler::Options ShortestFirst() {
  Scheduler::Options options = SmallOptions();
  options.shortest_first = true;
  options.idle_step_seconds = 10;
  return options;
}

TEST(Plan, AShortPromptDoesNotStandBehindALongOne) {
  Scheduler scheduler(ShortestFirst());
  ASSERT_THAT(scheduler.Add(1, DenseShape(4, 900, 5)), IsOk());
  scheduler.Commit(scheduler.Plan(kNow));
  ASSERT_THAT(scheduler.Add(2, DenseShape(4, 8, 5)), IsOk());
  EXPECT_THAT(scheduler.Plan(kNow + absl::Seconds(1)).trunks, ElementsAre(IsTrunk(2, 0, 8)));
}

TEST(Plan, WhoHasWaitedLongEnoughComesBeforeShorterOnes) {
  Scheduler scheduler(ShortestFirst());
  ASSERT_THAT(scheduler.Add(1, DenseShape(4, 100, 5)), IsOk());
  scheduler.Commit(scheduler.Plan(kNow));  // 92 seconds are left
  ASSERT_THAT(scheduler.Add(2, DenseShape(4, 8, 5)), IsOk());
  scheduler.Plan(kNow + absl::Seconds(85));
  EXPECT_THAT(scheduler.Plan(kNow + absl::Seconds(85)).trunks,
              ElementsAre(IsSlice(1, 0, 32, 1, 2), IsSlice(2, 0, 8, 0, 1)));
}

TEST(Plan, LearnsHowLongStepsTake) {
  Scheduler::Options options = SmallOptions();
  options.idle_step_seconds = 32;
  Scheduler scheduler(options);
  ASSERT_THAT(scheduler.Add(1, DenseShape(4, 100, 5)), IsOk());
  const StepPlan plan = scheduler.Plan(kNow);
  EXPECT_THAT(plan.trunks, ElementsAre(IsTrunk(1, 0, 32)));
  // Twice as slow as thought, again and again: half as much fits.
  for (int i = 0; i < 100; ++i) scheduler.Observe(plan.work, absl::Seconds(64));
  EXPECT_THAT(scheduler.Plan(kNow).trunks, ElementsAre(IsSlice(1, 0, 32, 0, 2)));
  EXPECT_NEAR(scheduler.RemainingSeconds(1), 200, 1);
}

TEST(Plan, EverySequenceThatDecodesIsInEveryPlan) {
  Scheduler scheduler(SmallOptions());
  for (SequenceId id : {1, 2, 3}) {
    ASSERT_THAT(scheduler.Add(id, DenseShape(4, 8, 50)), IsOk());
    RunPrefill(scheduler, id);
  }
  ASSERT_THAT(scheduler.Add(4, SkippingShape(4, 40, 3, 5)), IsOk());
  for (int step = 0; step < 7; ++step) {
    StepPlan plan = scheduler.Plan(kNow);
    EXPECT_THAT(plan.decodes, ElementsAre(IsDecode(1), IsDecode(2), IsDecode(3)));
    EXPECT_EQ(plan.trunks.size() + plan.skips.size(), 1u);
    scheduler.Commit(plan);
  }
  EXPECT_EQ(scheduler.phase(4), Phase::kDecode);
}

}  // namespace
}  // namespace skipserve
