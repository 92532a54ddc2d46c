// Who comes first: priorities, clients' shares, and a bound on how long anybody waits; and who
// gives way where answers outgrow the memory.
#include <map>
#include <random>

#include "absl/strings/match.h"
#include "shapes.h"

namespace skipserve {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Phase = Scheduler::Phase;

SequenceShape Of(SequenceShape shape, std::string client, int32_t priority = 0) {
  shape.client = std::move(client);
  shape.priority = priority;
  return shape;
}

Scheduler::Options OneAtATime() {
  Scheduler::Options options = SmallOptions();
  options.max_running = 1;
  options.shortest_first = true;
  return options;
}

// Runs whoever is admitted to the end, one after the other: the order of admission.
std::vector<SequenceId> AdmissionOrder(Scheduler& scheduler, int64_t last_id) {
  std::vector<SequenceId> order;
  for (int step = 0; step < 10000 && !scheduler.idle(); ++step) {
    scheduler.Commit(scheduler.Plan(kNow));
    for (SequenceId id = 1; id <= static_cast<SequenceId>(last_id); ++id) {
      if (std::find(order.begin(), order.end(), id) != order.end()) continue;
      if (scheduler.phase(id) == Phase::kWaiting) continue;
      order.push_back(id);
    }
    if (scheduler.phase(order.back()) == Phase::kDecode) scheduler.Remove(order.back());
  }
  return order;
}

TEST(Fairness, AHigherPriorityComesFirst) {
  Scheduler scheduler(OneAtATime());
  ASSERT_THAT(scheduler.Add(1, Of(DenseShape(4, 8, 1), "", -1)), IsOk());
  ASSERT_THAT(scheduler.Add(2, Of(DenseShape(4, 8, 1), "", 0)), IsOk());
  ASSERT_THAT(scheduler.Add(3, Of(DenseShape(4, 80, 1), "", 1)), IsOk());
  EXPECT_THAT(AdmissionOrder(scheduler, 3), ElementsAre(3, 2, 1));
}

TEST(Fairness, AClientOfManyRequestsLeavesOthersTheirTurn) {
  Scheduler scheduler(OneAtATime());
  for (SequenceId id = 1; id <= 4; ++id) {
    ASSERT_THAT(scheduler.Add(id, Of(DenseShape(4, 40, 1), "many")), IsOk());
  }
  scheduler.Commit(scheduler.Plan(kNow));  // the first is under way
  ASSERT_THAT(scheduler.Add(5, Of(DenseShape(4, 40, 1), "few")), IsOk());
  ASSERT_THAT(scheduler.Add(6, Of(DenseShape(4, 40, 1), "few")), IsOk());
  EXPECT_THAT(AdmissionOrder(scheduler, 6), ElementsAre(1, 2, 5, 3, 6, 4));
}

// Clients of one request each keep coming: who has had a turn is not behind all of them.
TEST(Fairness, NewcomersDoNotComeFirstForever) {
  Scheduler scheduler(OneAtATime());
  for (SequenceId id : {1, 2, 3}) {
    ASSERT_THAT(scheduler.Add(id, Of(DenseShape(4, 400, 1), "two")), IsOk());
  }
  std::vector<SequenceId> order;
  for (SequenceId id = 4; id < 60; ++id) {
    ASSERT_THAT(scheduler.Add(id, Of(DenseShape(4, 40, 1), std::to_string(id))), IsOk());
    scheduler.Commit(scheduler.Plan(kNow));
    SequenceId running = 1;
    while (std::find(order.begin(), order.end(), running) != order.end() ||
           scheduler.phase(running) == Phase::kWaiting) {
      ++running;
    }
    RunPrefill(scheduler, running);
    scheduler.Remove(running);
    order.push_back(running);
    ASSERT_THAT(scheduler.CheckInvariants(), IsOk());
  }
  const auto turn = [&](SequenceId id) {
    return std::find(order.begin(), order.end(), id) - order.begin();
  };
  EXPECT_LT(turn(2), 30);
  EXPECT_LT(turn(3), 56);
}

TEST(Fairness, SharesAreOfTimeNotOfRequests) {
  Scheduler scheduler(OneAtATime());
  for (SequenceId id = 1; id <= 3; ++id) {
    ASSERT_THAT(scheduler.Add(id, Of(DenseShape(4, 100, 1), "long")), IsOk());
  }
  for (SequenceId id = 4; id <= 10; ++id) {
    ASSERT_THAT(scheduler.Add(id, Of(DenseShape(4, 50, 1), "short")), IsOk());
  }
  EXPECT_THAT(AdmissionOrder(scheduler, 10), ElementsAre(4, 1, 5, 6, 2, 7, 8, 3, 9, 10));
}

TEST(Fairness, WhoWasAwayHasNoCreditForIt) {
  Scheduler scheduler(OneAtATime());
  SequenceId id = 1;
  for (; id <= 5; ++id) ASSERT_THAT(scheduler.Add(id, Of(DenseShape(4, 40, 1), "busy")), IsOk());
  for (int i = 0; i < 3; ++i) {  // three of them run while nobody else is there
    scheduler.Plan(kNow);
    SequenceId running = 1;
    while (scheduler.phase(running) == Phase::kWaiting) ++running;
    RunPrefill(scheduler, running);
    scheduler.Remove(running);
    ASSERT_THAT(scheduler.Add(running, Of(DenseShape(4, 40, 1), "busy")), IsOk());
  }
  for (; id <= 9; ++id) ASSERT_THAT(scheduler.Add(id, Of(DenseShape(4, 40, 1), "new")), IsOk());
  int of_new = 0;
  const std::vector<SequenceId> order = AdmissionOrder(scheduler, 9);
  for (size_t i = 0; i < 4; ++i) of_new += order[i] >= 6;
  EXPECT_EQ(of_new, 2);  // in turn from now on
}

// A long prompt among short ones that keep coming, more than half of what the machine can do: it is
// done when it has waited about as long as it takes, and half of the machine's time is its own.
TEST(Fairness, NobodyStandsBehindNewcomersForever) {
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    Scheduler::Options options = SmallOptions(/*num_blocks=*/100000);
    options.shortest_first = true;
    options.busy_step_seconds = options.idle_step_seconds = 10;
    options.max_queue = 100000;
    options.max_prefilling = 4;
    Scheduler scheduler(options);
    std::mt19937 bits(seed);
    const double load = 0.3 + 0.1 * static_cast<double>(seed % 6);  // of the machine, by short ones
    absl::Time now = kNow;
    ASSERT_THAT(scheduler.Add(1, DenseShape(4, 2000, 1)), IsOk());
    SequenceId next = 2;
    double credit = 0;
    std::vector<SequenceId> open;
    while (scheduler.phase(1) != Phase::kDecode) {
      const StepPlan plan = scheduler.Plan(now);
      const double seconds = std::max(1.0, CostModel(SecondAFlop()).Seconds(plan.work));
      now += absl::Seconds(seconds);
      scheduler.Commit(plan);
      std::erase_if(open, [&](SequenceId id) {
        return scheduler.phase(id) == Phase::kDecode && scheduler.Remove(id);
      });
      credit += load * seconds;
      for (; credit > 0; credit -= 16) {
        ASSERT_THAT(scheduler.Add(next, DenseShape(4, 8 + bits() % 17, 1)), IsOk());
        open.push_back(next++);
      }
      ASSERT_LT(now, kNow + absl::Seconds(2000 * 2.2 / (1 - load))) << "load " << load;
    }
  }
}

Scheduler::Options Overcommitted(int64_t num_blocks) {
  Scheduler::Options options = SmallOptions(num_blocks);
  options.promised_new_tokens = 1;
  return options;
}

TEST(Overcommit, PromisesLessThanAnAnswerMayNeed) {
  // 8 tokens of prompt and 21 new ones: 4 layers x 7 blocks each, 2 of them for the prompt.
  Scheduler scheduler(Overcommitted(/*num_blocks=*/28));
  for (SequenceId id : {1, 2, 3}) ASSERT_THAT(scheduler.Add(id, DenseShape(4, 8, 21)), IsOk());
  RunPrefill(scheduler, 1);
  RunPrefill(scheduler, 2);
  EXPECT_EQ(scheduler.load().decoding, 2);
  EXPECT_THAT(scheduler.CheckInvariants(), IsOk());
}

TEST(Overcommit, TheYoungestGivesWayAndBeginsAgain) {
  Scheduler scheduler(Overcommitted(/*num_blocks=*/28));
  for (SequenceId id : {1, 2, 3}) ASSERT_THAT(scheduler.Add(id, DenseShape(4, 8, 21)), IsOk());
  std::vector<SequenceId> preempted;
  while (scheduler.kv_tokens(1, 0) < 8 + 20) {
    const StepPlan plan = scheduler.Plan(kNow);
    preempted.insert(preempted.end(), plan.preempted.begin(), plan.preempted.end());
    scheduler.Commit(plan);
    ASSERT_THAT(scheduler.CheckInvariants(), IsOk());
    ASSERT_NE(scheduler.phase(1), Phase::kWaiting);  // the oldest never does
  }
  ASSERT_GE(preempted.size(), 2u);
  EXPECT_EQ(preempted[0], 3u);
  EXPECT_EQ(preempted[1], 2u);
  scheduler.Remove(1);
  RunPrefill(scheduler, 2);
  EXPECT_EQ(scheduler.kv_tokens(2, 0), 8);  // from its beginning
}

TEST(Overcommit, ALowerPriorityGivesWayFirst) {
  Scheduler scheduler(Overcommitted(/*num_blocks=*/28));
  ASSERT_THAT(scheduler.Add(1, Of(DenseShape(4, 8, 21), "", -1)), IsOk());
  RunPrefill(scheduler, 1);
  for (SequenceId id : {2, 3}) {
    ASSERT_THAT(scheduler.Add(id, Of(DenseShape(4, 8, 21), "", 1)), IsOk());
  }
  for (int step = 0; step < 30; ++step) {
    const StepPlan plan = scheduler.Plan(kNow);
    if (plan.preempted.empty()) {
      scheduler.Commit(plan);
      continue;
    }
    EXPECT_THAT(plan.preempted, ElementsAre(1));
    EXPECT_THAT(plan.decodes, ElementsAre(IsDecode(2)));
    return;
  }
  FAIL() << "nobody was preempted";
}

TEST(Overcommit, NothingIsPreemptedWhereAllWasPromised) {
  Scheduler scheduler(SmallOptions(/*num_blocks=*/28));
  for (SequenceId id : {1, 2}) ASSERT_THAT(scheduler.Add(id, DenseShape(4, 8, 21)), IsOk());
  RunPrefill(scheduler, 1);
  for (int step = 0; step < 19; ++step) {
    const StepPlan plan = scheduler.Plan(kNow);
    EXPECT_THAT(plan.preempted, IsEmpty());
    scheduler.Commit(plan);
  }
  EXPECT_EQ(scheduler.phase(2), Phase::kWaiting);
}

TEST(Queue, IsBoundedInTokensToo) {
  Scheduler::Options options = SmallOptions();
  options.max_queue_tokens = 100;
  Scheduler scheduler(options);
  ASSERT_THAT(scheduler.Add(1, DenseShape(4, 150, 1)), IsOk());  // alone, any size
  const absl::Status full = scheduler.Add(2, DenseShape(4, 8, 1));
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(absl::StartsWith(full.message(), Scheduler::kQueueFull)) << full;
  scheduler.Plan(kNow);
  ASSERT_THAT(scheduler.Add(2, DenseShape(4, 60, 1)), IsOk());
  ASSERT_THAT(scheduler.Add(3, DenseShape(4, 40, 1)), IsOk());
  EXPECT_FALSE(scheduler.Add(4, DenseShape(4, 1, 1)).ok());
  scheduler.Remove(3);
  EXPECT_THAT(scheduler.Add(4, DenseShape(4, 1, 1)), IsOk());
}

TEST(Queue, OneClientLeavesRoomForOthers) {
  Scheduler::Options options = SmallOptions();
  options.max_queue = 16;
  Scheduler scheduler(options);
  SequenceId next = 1;
  const auto fill = [&](const std::string& client) {
    int taken = 0;
    while (scheduler.Add(next, Of(DenseShape(4, 8, 1), client)).ok()) ++next, ++taken;
    return taken;
  };
  EXPECT_EQ(fill("ada"), 8);
  const absl::Status full = scheduler.Add(next, Of(DenseShape(4, 8, 1), "ada"));
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(absl::StartsWith(full.message(), Scheduler::kQueueFull)) << full;
  EXPECT_EQ(fill("bob"), 4);
  EXPECT_EQ(fill("cid"), 2);
  EXPECT_EQ(fill("ada"), 0);
  EXPECT_EQ(fill(""), 2) << "who has no name takes what there is";
}

TEST(Queue, TellsHowLongItTakesToDrain) {
  Scheduler scheduler(OneAtATime());
  EXPECT_EQ(scheduler.TimeToDrain(), absl::ZeroDuration());
  for (SequenceId id = 1; id <= 40; ++id) {
    ASSERT_THAT(scheduler.Add(id, DenseShape(4, 8, 1)), IsOk());
  }
  for (SequenceId id = 1; id <= 20; ++id) {
    scheduler.Plan(kNow + absl::Seconds(3 * id));
    SequenceId running = 1;
    while (running < id && !scheduler.Remove(running)) ++running;
  }
  const int64_t waiting = scheduler.load().waiting;
  EXPECT_GT(waiting, 10);
  EXPECT_NEAR(absl::ToDoubleSeconds(scheduler.TimeToDrain()), 3.0 * ((waiting + 1) / 2), 3);
}

}  // namespace
}  // namespace skipserve
