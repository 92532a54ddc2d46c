// Blocks: taken by the plan that writes to them, kept over a failed step, never beyond what was
// reserved.
#include "shapes.h"

namespace skipserve {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<int64_t> TableSizes(const Scheduler& scheduler, SequenceId id) {
  std::vector<int64_t> sizes;
  for (const BlockTable& table : scheduler.tables(id)) {
    sizes.push_back(static_cast<int64_t>(table.blocks.size()));
  }
  return sizes;
}

std::vector<int64_t> KvTokens(const Scheduler& scheduler, SequenceId id) {
  std::vector<int64_t> tokens;
  for (int32_t l = 0; l < 4; ++l) tokens.push_back(scheduler.kv_tokens(id, l));
  return tokens;
}

TEST(Memory, GrowsWithTheWorkPlanned) {
  Scheduler::Options options = SmallOptions();
  options.idle_step_seconds = 16;
  Scheduler scheduler(options);
  ASSERT_THAT(scheduler.Add(1, SkippingShape(4, 20, 4, 9)), IsOk());
  EXPECT_THAT(scheduler.tables(1), IsEmpty());
  StepPlan plan = scheduler.Plan(kNow);
  EXPECT_THAT(TableSizes(scheduler, 1), ElementsAre(5, 0, 0, 0));
  EXPECT_THAT(KvTokens(scheduler, 1), ElementsAre(0, 0, 0, 0));
  scheduler.Commit(plan);
  EXPECT_THAT(KvTokens(scheduler, 1), ElementsAre(20, 0, 0, 0));
  scheduler.Commit(scheduler.Plan(kNow));
  EXPECT_THAT(TableSizes(scheduler, 1), ElementsAre(5, 5, 0, 0));
  EXPECT_THAT(KvTokens(scheduler, 1), ElementsAre(20, 20, 0, 0));
  scheduler.Commit(scheduler.Plan(kNow));
  EXPECT_THAT(TableSizes(scheduler, 1), ElementsAre(5, 5, 1, 0));
  EXPECT_THAT(KvTokens(scheduler, 1), ElementsAre(20, 20, 4, 0));
  scheduler.Commit(scheduler.Plan(kNow));
  EXPECT_THAT(KvTokens(scheduler, 1), ElementsAre(20, 20, 4, 4));
  plan = scheduler.Plan(kNow);  // the first decode writes token 20, or 4, of each layer
  EXPECT_THAT(TableSizes(scheduler, 1), ElementsAre(6, 6, 2, 2));
  EXPECT_THAT(scheduler.load().blocks_by_layer, ElementsAre(6, 6, 2, 2));
  scheduler.Commit(plan);
  EXPECT_THAT(KvTokens(scheduler, 1), ElementsAre(21, 21, 5, 5));
  EXPECT_THAT(scheduler.CheckInvariants(), IsOk());
}

TEST(Memory, AFailedStepKeepsItsBlocksForTheNextPlan) {
  Scheduler scheduler(SmallOptions());
  ASSERT_THAT(scheduler.Add(1, DenseShape(4, 20, 9)), IsOk());
  scheduler.Plan(kNow);
  const std::vector<BlockId> blocks = scheduler.tables(1)[0].blocks;
  for (int i = 0; i < 3; ++i) {
    EXPECT_THAT(scheduler.Plan(kNow).trunks, ElementsAre(IsTrunk(1, 0, 20)));
    EXPECT_EQ(scheduler.tables(1)[0].blocks, blocks);
    EXPECT_EQ(scheduler.load().blocks_used, 20);
  }
  RunPrefill(scheduler, 1);
  for (int i = 0; i < 3; ++i) {
    scheduler.Plan(kNow);
    EXPECT_EQ(scheduler.load().blocks_used, 24);
    EXPECT_EQ(scheduler.kv_tokens(1, 0), 20);
  }
}

TEST(Memory, CommittingTwiceCountsOnce) {
  Scheduler scheduler(SmallOptions());
  ASSERT_THAT(scheduler.Add(1, DenseShape(4, 8, 9)), IsOk());
  RunPrefill(scheduler, 1);
  StepPlan plan = scheduler.Plan(kNow);
  scheduler.Commit(plan);
  scheduler.Commit(plan);
  EXPECT_EQ(scheduler.kv_tokens(1, 0), 9);
}

TEST(Memory, PartOfAPlanCanBeCommitted) {
  Scheduler scheduler(SmallOptions());
  for (SequenceId id : {1, 2}) {
    ASSERT_THAT(scheduler.Add(id, DenseShape(4, 8, 9)), IsOk());
    RunPrefill(scheduler, id);
  }
  const int64_t before = scheduler.kv_tokens(1, 0);
  StepPlan plan = scheduler.Plan(kNow);
  plan.decodes.pop_back();
  scheduler.Commit(plan);
  EXPECT_EQ(scheduler.kv_tokens(1, 0), before + 1);
  EXPECT_EQ(scheduler.kv_tokens(2, 0), 8);
  EXPECT_THAT(scheduler.Plan(kNow).decodes, ElementsAre(IsDecode(1), IsDecode(2)));
}

TEST(Memory, TheLastTokenNeedsNoRoom) {
  // One new token: it comes from the prefill. The pool holds the prompt and nothing more.
  Scheduler scheduler(SmallOptions(/*num_blocks=*/8));
  ASSERT_THAT(scheduler.Add(1, DenseShape(4, 8, 1)), IsOk());
  RunPrefill(scheduler, 1);
  EXPECT_EQ(scheduler.load().blocks_used, 8);
  EXPECT_THAT(scheduler.CheckInvariants(), IsOk());
}

TEST(Memory, ASequenceLeftBeyondItsLimitTakesNothingAndIsReported) {
  // Both need exactly two blocks a layer, and the pool has just these.
  Scheduler scheduler(SmallOptions(/*num_blocks=*/16));
  for (SequenceId id : {1, 2}) {
    ASSERT_THAT(scheduler.Add(id, DenseShape(4, id == 1 ? 7 : 2, id == 1 ? 2 : 7)), IsOk());
  }
  RunPrefill(scheduler, 1);
  RunPrefill(scheduler, 2);
  ASSERT_EQ(scheduler.kv_tokens(1, 0), 8);
  EXPECT_THAT(scheduler.CheckInvariants(), IsOk());
  // Sequence 1 has its two tokens and should be gone.
  StepPlan plan = scheduler.Plan(kNow);
  EXPECT_THAT(plan.decodes, ElementsAre(IsDecode(2)));
  EXPECT_THAT(TableSizes(scheduler, 1), ElementsAre(2, 2, 2, 2));
  const absl::Status status = scheduler.CheckInvariants();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("sequence 1 was not removed"));
  // The other one gets all of its tokens.
  scheduler.Commit(plan);
  for (int64_t kv = scheduler.kv_tokens(2, 0); kv < 8; ++kv) {
    plan = scheduler.Plan(kNow);
    ASSERT_THAT(plan.decodes, ElementsAre(IsDecode(2)));
    scheduler.Commit(plan);
  }
  EXPECT_EQ(scheduler.kv_tokens(2, 0), 8);
  scheduler.Remove(1);
  EXPECT_THAT(scheduler.CheckInvariants(), IsOk());
}

}  // namespace
}  // namespace skipserve
