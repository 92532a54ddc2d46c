// Replays whose times follow from arithmetic: every FLOP of a prefill takes a second.
#include "tests/scheduler/replay.h"

#include "shapes.h"

namespace skipserve {
namespace {

using testing::ElementsAre;

RequestTrace Request(double at, SequenceShape shape, int64_t new_tokens) {
  RequestTrace trace;
  trace.arrived = absl::UnixEpoch() + absl::Seconds(at);
  trace.shape = std::move(shape);
  trace.new_tokens = new_tokens;
  trace.ttft = absl::Seconds(1);
  trace.total = absl::Seconds(5);
  trace.cost = SecondAFlop();
  return trace;
}

// The same 32 tokens each time, eight blocks of them.
SequenceShape SharedShape(int64_t max_new_tokens) {
  SequenceShape shape = DenseShape(4, 32, max_new_tokens);
  for (uint64_t block = 1; block <= 8; ++block) shape.prefix_keys.push_back({0, block});
  return shape;
}

// A dense prompt takes a FLOP a token.
TEST(ReplayTest, TakesTheTimeThatItsWorkTakes) {
  Trace trace;
  trace.options = SmallOptions();
  trace.requests = {Request(10, DenseShape(4, 32, 8), 5), Request(1000, DenseShape(4, 16, 8), 1)};
  const ReplayResult result = Replay(trace, trace.options);
  EXPECT_THAT(result.status, IsOk());
  EXPECT_THAT(result.ttft, ElementsAre(32, 16));
  EXPECT_THAT(result.recorded, ElementsAre(1, 1));
  EXPECT_THAT(result.gaps, ElementsAre(0, 0, 0, 0)) << "decoding costs nothing here";
  EXPECT_EQ(result.ended, 2);
  EXPECT_EQ(result.seconds, 1016);
}

TEST(ReplayTest, OtherOptionsGiveOtherTimes) {
  Trace trace;
  trace.options = SmallOptions();
  trace.options.max_running = 2;
  trace.options.cost[WorkKind::kDecodePass] = 3;
  for (int i = 0; i < 2; ++i) trace.requests.push_back(Request(0, DenseShape(4, 32, 8), 5));
  for (RequestTrace& request : trace.requests) request.cost[WorkKind::kDecodePass] = 3;
  Scheduler::Options one = trace.options;
  one.max_running = 1;
  const ReplayResult result = Replay(trace, one);
  EXPECT_THAT(result.status, IsOk());
  EXPECT_THAT(result.ttft, ElementsAre(32, 32 + 4 * 3 + 32));
  EXPECT_LT(Replay(trace, trace.options).seconds, result.seconds);
}

TEST(ReplayTest, TheRefusedAndThoseWhoLeft) {
  Trace trace;
  trace.options = SmallOptions();
  trace.options.max_running = 1;
  trace.options.max_queue = 1;
  trace.requests = {Request(0, DenseShape(4, 32, 8), 5), Request(1, DenseShape(4, 32, 8), 0),
                    Request(2, DenseShape(4, 32, 8), 3)};
  trace.requests[1].total = absl::Seconds(20);  // waits, and hangs up
  Scheduler::Options options = trace.options;
  const ReplayResult result = Replay(trace, options);
  EXPECT_THAT(result.status, IsOk());
  EXPECT_EQ(result.refused, 1);
  EXPECT_EQ(result.ended, 2);
  EXPECT_THAT(result.ttft, ElementsAre(32));
}

TEST(ReplayTest, ThePreemptedHaveTheirTokensOnce) {
  Trace trace;
  trace.options = SmallOptions(/*num_blocks=*/60);
  trace.options.promised_new_tokens = 1;
  trace.options.cost[WorkKind::kDecodePass] = 1;
  for (int i = 0; i < 6; ++i) trace.requests.push_back(Request(i, DenseShape(4, 8, 40), 40));
  for (RequestTrace& request : trace.requests) request.cost[WorkKind::kDecodePass] = 1;
  const ReplayResult result = Replay(trace, trace.options);
  EXPECT_THAT(result.status, IsOk());
  EXPECT_GT(result.preemptions, 0);
  EXPECT_EQ(result.ended, 6);
  EXPECT_EQ(result.ttft.size(), 6u);
  EXPECT_EQ(result.gaps.size(), 6u * 39);
}

TEST(ReplayTest, PrefixesAreSharedAsRecorded) {
  Trace trace;
  trace.options = SmallOptions();
  trace.requests = {Request(0, SharedShape(8), 2), Request(1000, SharedShape(8), 2)};
  const ReplayResult result = Replay(trace, trace.options);
  EXPECT_THAT(result.status, IsOk());
  EXPECT_EQ(result.cached_tokens, 28) << "the last block is computed for its logits";
  EXPECT_THAT(result.ttft, ElementsAre(32, 4));
}

// One that the cache has as a whole is done when it is admitted.
TEST(ReplayTest, PrefixesAreReadOnce) {
  Trace trace;
  trace.options = SmallOptions();
  SequenceShape shape = SharedShape(1);
  shape.prefix_only = true;
  trace.requests = {Request(0, shape, 0), Request(1000, shape, 0)};
  const ReplayResult result = Replay(trace, trace.options);
  EXPECT_THAT(result.status, IsOk());
  EXPECT_EQ(result.ended, 2);
  EXPECT_EQ(result.seconds, 1000);
}

}  // namespace
}  // namespace skipserve
