// What Add refuses, and how it says so.
#include <limits>

#include "absl/strings/match.h"
#include "shapes.h"

namespace skipserve {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();

std::string Prefix(absl::string_view prefix) { return std::string(prefix); }

void ExpectInvalid(const SequenceShape& shape, const std::string& field) {
  Scheduler scheduler(SmallOptions());
  const absl::Status status = scheduler.Add(1, shape);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << field;
  EXPECT_THAT(std::string(status.message()), HasSubstr(field));
  EXPECT_TRUE(scheduler.idle());
}

template <typename Change>
void ExpectInvalidAfter(Change change, const std::string& field) {
  SequenceShape shape = SkippingShape(4, 20, 5, 3);
  change(shape);
  ExpectInvalid(shape, field);
}

TEST(Add, RefusesShapesThatContradictThemselves) {
  using S = SequenceShape;
  ExpectInvalidAfter([](S& s) { s.prompt_tokens = 0; }, "prompt_tokens");
  ExpectInvalidAfter([](S& s) { s.prompt_tokens = -5; }, "prompt_tokens");
  ExpectInvalidAfter([](S& s) { s.max_new_tokens = 0; }, "max_new_tokens");
  ExpectInvalidAfter([](S& s) { s.max_new_tokens = -1; }, "max_new_tokens");
  ExpectInvalidAfter([](S& s) { s.kv_prompt_tokens.pop_back(); }, "kv_prompt_tokens");
  ExpectInvalidAfter([](S& s) { s.kv_prompt_tokens.push_back(1); }, "kv_prompt_tokens");
  ExpectInvalidAfter([](S& s) { s.trunk_layers = -1; }, "trunk_layers");
  ExpectInvalidAfter([](S& s) { s.trunk_layers = 5; }, "trunk_layers");
  ExpectInvalidAfter([](S& s) { s.skip_layers.pop_back(); }, "skip_layers");
  ExpectInvalidAfter([](S& s) { s.trunk_layers = 4; }, "skip_layers");
  ExpectInvalidAfter([](S& s) { s.kv_prompt_tokens[3] = 21; }, "kv_prompt_tokens of layer 3");
  ExpectInvalidAfter([](S& s) { s.kv_prompt_tokens[2] = -1; }, "kv_prompt_tokens of layer 2");
  ExpectInvalidAfter([](S& s) { s.kv_prompt_tokens[0] = 19; }, "layer 0 (trunk)");
  for (double bad : {kNan, kInf, -1.0}) {
    ExpectInvalidAfter([&](S& s) { s.skip_layers[1].probe_flops = bad; }, "layer 3");
    ExpectInvalidAfter([&](S& s) { s.trunk_flops_per_token = bad; }, "trunk_flops_per_token");
    ExpectInvalidAfter([&](S& s) { s.trunk_flops_per_pair = bad; }, "trunk_flops_per_pair");
  }
}

TEST(Add, RefusesAnIdInUse) {
  Scheduler scheduler(SmallOptions());
  ASSERT_THAT(scheduler.Add(1, DenseShape(4, 8, 1)), IsOk());
  EXPECT_EQ(scheduler.Add(1, DenseShape(4, 8, 1)).code(), absl::StatusCode::kAlreadyExists);
  scheduler.Plan(kNow);
  EXPECT_EQ(scheduler.Add(1, DenseShape(4, 8, 1)).code(), absl::StatusCode::kAlreadyExists);
  scheduler.Remove(1);
  EXPECT_THAT(scheduler.Add(1, DenseShape(4, 8, 1)), IsOk());
}

TEST(Add, RefusesWhatCanNeverFitWithTheNumbers) {
  Scheduler scheduler(SmallOptions(/*num_blocks=*/10));
  EXPECT_THAT(scheduler.Add(1, DenseShape(4, 8, 1)), IsOk());
  const absl::Status status = scheduler.Add(2, DenseShape(4, 8, 2));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()),
              AllOf(StartsWith(Prefix(Scheduler::kNeverFits)), HasSubstr("prompt of 8 tokens"),
                    HasSubstr("2 new ones"), HasSubstr("need 12 KV blocks of 4"),
                    HasSubstr("there are 10")));
}

TEST(Add, RefusesNumbersThatWouldOverflow) {
  Scheduler scheduler(SmallOptions());
  for (const SequenceShape& shape : {DenseShape(4, kHuge, 1), DenseShape(4, 1, kHuge),
                                     DenseShape(4, kHuge, kHuge), DenseShape(4, kHuge / 2, 9)}) {
    const absl::Status status = scheduler.Add(1, shape);
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_TRUE(absl::StartsWith(status.message(), Scheduler::kNeverFits));
  }
}

TEST(Add, RefusesWhenTheQueueIsFull) {
  Scheduler::Options options = SmallOptions();
  options.max_queue = 2;
  options.max_running = 1;
  Scheduler scheduler(options);
  ASSERT_THAT(scheduler.Add(1, DenseShape(4, 8, 4)), IsOk());
  ASSERT_THAT(scheduler.Add(2, DenseShape(4, 8, 4)), IsOk());
  const absl::Status status = scheduler.Add(3, DenseShape(4, 8, 4));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()),
              AllOf(StartsWith(Prefix(Scheduler::kQueueFull)), HasSubstr("at most 2")));
  scheduler.Plan(kNow);  // admits the first
  EXPECT_THAT(scheduler.Add(3, DenseShape(4, 8, 4)), IsOk());
}

TEST(Add, ARefusedRequestLeavesNothingBehind) {
  Scheduler scheduler(SmallOptions(/*num_blocks=*/10));
  EXPECT_FALSE(scheduler.Add(2, DenseShape(4, 80, 2)).ok());
  EXPECT_TRUE(scheduler.idle());
  EXPECT_FALSE(scheduler.Remove(2));
  EXPECT_TRUE(scheduler.Plan(kNow).empty());
}

template <typename Change>
void ExpectBadOption(Change change, const std::string& name) {
  Scheduler::Options options = SmallOptions();
  change(options);
  const absl::Status status = Scheduler::CheckOptions(options);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name;
  EXPECT_THAT(std::string(status.message()), HasSubstr(name + " is"));
  Scheduler scheduler(options);
  EXPECT_EQ(scheduler.Add(1, DenseShape(4, 8, 1)), status);
  EXPECT_TRUE(scheduler.Plan(kNow).empty());
}

TEST(Options, OutOfRangeRunNothing) {
  using O = Scheduler::Options;
  EXPECT_THAT(Scheduler::CheckOptions(SmallOptions()), IsOk());
  ExpectBadOption([](O& o) { o.num_blocks = 0; }, "num_blocks");
  ExpectBadOption([](O& o) { o.num_blocks = int64_t{1} << 31; }, "num_blocks");
  ExpectBadOption([](O& o) { o.num_blocks = -1; }, "num_blocks");
  ExpectBadOption([](O& o) { o.block_tokens = 0; }, "block_tokens");
  ExpectBadOption([](O& o) { o.layers = 0; }, "layers");
  ExpectBadOption([](O& o) { o.max_running = 0; }, "max_running");
  ExpectBadOption([](O& o) { o.max_prefilling = 0; }, "max_prefilling");
  ExpectBadOption([](O& o) { o.max_queue = 0; }, "max_queue");
  ExpectBadOption([](O& o) { o.max_idle = -1; }, "max_idle");
  ExpectBadOption([](O& o) { o.min_chunk_tokens = 0; }, "min_chunk_tokens");
  ExpectBadOption([](O& o) { o.chunk_tokens = 7; }, "chunk_tokens");
  ExpectBadOption([](O& o) { o.busy_step_seconds = -1; }, "busy_step_seconds");
  ExpectBadOption([](O& o) { o.idle_step_seconds = kNan; }, "idle_step_seconds");
}

}  // namespace
}  // namespace skipserve
