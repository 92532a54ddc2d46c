// A sequence can end at any moment, and leaves nothing behind.
#include "shapes.h"

namespace skipserve {
namespace {

using testing::ElementsAre;
using Phase = Scheduler::Phase;

void ExpectGone(Scheduler& scheduler, SequenceId id) {
  EXPECT_TRUE(scheduler.Remove(id));
  EXPECT_FALSE(scheduler.Remove(id));
  EXPECT_TRUE(scheduler.idle());
  const Scheduler::Load load = scheduler.load();
  EXPECT_EQ(load.waiting + load.prefilling + load.decoding, 0);
  EXPECT_EQ(load.blocks_used, 0);
  EXPECT_EQ(load.blocks_reserved, 0);
  EXPECT_THAT(scheduler.CheckInvariants(), IsOk());
  EXPECT_TRUE(scheduler.Plan(kNow).empty());
}

TEST(Remove, FreesEverythingInEveryPhase) {
  Scheduler scheduler(SmallOptions());
  EXPECT_FALSE(scheduler.Remove(1));
  for (int steps : {0, 1, 2, 3, 5}) {
    ASSERT_THAT(scheduler.Add(1, SkippingShape(4, 40, 9, 9)), IsOk());
    for (int i = 0; i < steps; ++i) scheduler.Commit(scheduler.Plan(kNow));
    const Phase expected = steps == 0   ? Phase::kWaiting
                           : steps == 1 ? Phase::kTrunk
                           : steps == 2 ? Phase::kSkipping
                                        : Phase::kDecode;
    EXPECT_EQ(scheduler.phase(1), expected);
    ExpectGone(scheduler, 1);
  }
}

TEST(Remove, BetweenPlanAndCommitMakesCommitIgnoreIt) {
  Scheduler scheduler(SmallOptions());
  for (SequenceId id : {1, 2}) ASSERT_THAT(scheduler.Add(id, DenseShape(4, 8, 9)), IsOk());
  StepPlan plan = scheduler.Plan(kNow);
  ASSERT_EQ(plan.trunks.size(), 2u);
  scheduler.Remove(1);
  scheduler.Commit(plan);
  EXPECT_EQ(scheduler.phase(2), Phase::kDecode);
  ExpectGone(scheduler, 2);
}

TEST(Remove, TheSameIdAgainIsAnotherSequence) {
  Scheduler scheduler(SmallOptions());
  ASSERT_THAT(scheduler.Add(1, DenseShape(4, 8, 9)), IsOk());
  StepPlan plan = scheduler.Plan(kNow);
  scheduler.Remove(1);
  ASSERT_THAT(scheduler.Add(1, DenseShape(4, 8, 9)), IsOk());
  scheduler.Commit(plan);
  EXPECT_EQ(scheduler.phase(1), Phase::kWaiting);
  EXPECT_THAT(scheduler.Plan(kNow).trunks, ElementsAre(IsTrunk(1, 0, 8)));
  ExpectGone(scheduler, 1);
}

TEST(Remove, FromTheMiddleOfTheQueueKeepsTheOrder) {
  Scheduler::Options options = SmallOptions();
  options.max_prefilling = 1;
  Scheduler scheduler(options);
  for (SequenceId id : {1, 2, 3}) ASSERT_THAT(scheduler.Add(id, DenseShape(4, 8, 9)), IsOk());
  scheduler.Remove(2);
  EXPECT_THAT(scheduler.Plan(kNow).trunks, ElementsAre(IsTrunk(1, 0, 8)));
  scheduler.Remove(1);
  EXPECT_THAT(scheduler.Plan(kNow).trunks, ElementsAre(IsTrunk(3, 0, 8)));
  ExpectGone(scheduler, 3);
}

TEST(Load, CountsEveryPhase) {
  Scheduler scheduler(SmallOptions());
  ASSERT_THAT(scheduler.Add(1, DenseShape(4, 8, 9)), IsOk());
  RunPrefill(scheduler, 1);
  for (SequenceId id : {2, 3, 4}) {
    ASSERT_THAT(scheduler.Add(id, DenseShape(4, 8, 9)), IsOk());
  }
  scheduler.Plan(kNow);
  const Scheduler::Load load = scheduler.load();
  EXPECT_EQ(load.waiting, 1);
  EXPECT_EQ(load.prefilling, 2);
  EXPECT_EQ(load.decoding, 1);
  EXPECT_EQ(load.blocks_total, 1000);
  EXPECT_EQ(load.blocks_reserved, 3 * 16);
  // The decode's third block a layer, a first chunk, and a layer of another in the time left.
  EXPECT_EQ(load.blocks_used, 12 + 8 + 2);
  EXPECT_FALSE(scheduler.idle());
}

}  // namespace
}  // namespace skipserve
