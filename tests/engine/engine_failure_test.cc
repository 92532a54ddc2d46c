// The engine on a backend that fails when told to: a failure ends the requests it concerns, each
// once and with a status, and nobody else's.
#include <gtest/gtest.h>

#include <atomic>
#include <limits>
#include <memory>
#include <stdexcept>
#include <vector>

#include "kernels/cpu/cpu_ops.h"
#include "tests/support/canary_watch.h"
#include "tests/support/engine_caller.h"

namespace skipserve::testing {
namespace {

constexpr int64_t kWidth = 48;  // of the tiny model

class FailingOps : public cpu::CpuOps {
 public:
  // What the test asks for; read by the step thread.
  struct Switches {
    std::atomic<size_t> refuse_bytes{0};  // an allocation of this size is refused
    std::atomic<bool> throw_in_prefill{false};
    std::atomic<size_t> throw_when_decoding{0};  // a step of so many sequences
    std::atomic<bool> answer_nan{false};
  };
  explicit FailingOps(Switches& switches) : CpuOps(2), switches_(switches) {}

  absl::StatusOr<Buffer> Allocate(size_t bytes) override {
    if (bytes == switches_.refuse_bytes) return absl::ResourceExhaustedError("no memory");
    return CpuOps::Allocate(bytes);
  }
  void PrefillAttention(TensorView q, absl::Span<const KvSegment> segments, const KvPool& pool,
                        TensorView out) override {
    if (switches_.throw_in_prefill) throw std::runtime_error("prefill broke");
    CpuOps::PrefillAttention(q, segments, pool, out);
    if (!switches_.answer_nan) return;
    std::fill_n(out.data, out.rows * out.cols, std::numeric_limits<float>::quiet_NaN());
  }
  void DecodeAttention(TensorView q, absl::Span<const KvSegment> segments, const KvPool& pool,
                       TensorView out) override {
    if (segments.size() == switches_.throw_when_decoding) throw std::bad_alloc();
    CpuOps::DecodeAttention(q, segments, pool, out);
  }

 private:
  Switches& switches_;
};

// Before the engines in order of construction, since it must outlive them.
struct Failing {
  FailingOps::Switches switches_;
  CanaryWatch watch_;
};

class EngineFailureTest : protected Failing, public LlmEngineTest {
 protected:
  EngineFailureTest() {
    engine_ = Keep(OpenEngine(TinyOptions(), std::make_unique<FailingOps>(switches_)));
  }

  std::shared_ptr<CollectingSink> Submit(GenerateRequest request) {
    auto sink = std::make_shared<CollectingSink>();
    EXPECT_TRUE(engine_->Submit(std::move(request), sink).ok());
    return sink;
  }
  void ExpectHealthy() {
    auto sink = Submit(SomeRequest(50, 1));
    EXPECT_TRUE(sink->Wait().status.ok()) << sink->finish_.status;
    EXPECT_EQ(sink->tokens_.size(), 12u);
  }

  Engine* engine_;
};

TEST_F(EngineFailureTest, AFailedPrefillEndsItsRequest) {
  switches_.throw_in_prefill = true;
  auto sink = Submit(SomeRequest(100, 2));
  EXPECT_EQ(sink->Wait().status.code(), absl::StatusCode::kInternal);
  EXPECT_NE(sink->finish_.status.message().find("prefill broke"), std::string::npos);
  switches_.throw_in_prefill = false;
  ExpectHealthy();
  EXPECT_EQ(sink->finishes_, 1);
}

TEST_F(EngineFailureTest, AFailedDecodeEndsWhoeverIsInTheStepAndLeavesTheQueue) {
  EngineOptions options = TinyOptions();
  options.max_running = 2;
  engine_ = Keep(OpenEngine(options, std::make_unique<FailingOps>(switches_)));
  switches_.throw_when_decoding = 2;
  std::vector<std::shared_ptr<CollectingSink>> running = {Submit(SomeRequest(30, 1, 200)),
                                                          Submit(SomeRequest(40, 2, 200))};
  auto waiting = Submit(SomeRequest(50, 3));
  for (const auto& sink : running) {
    EXPECT_EQ(sink->Wait().status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_GE(sink->tokens_.size(), 1u) << "what was said before stays said";
  }
  EXPECT_TRUE(waiting->Wait().status.ok()) << waiting->finish_.status;
  for (const auto& sink : running) EXPECT_EQ(sink->finishes_, 1);
}

TEST_F(EngineFailureTest, NoMemoryForHiddenStatesEndsThatRequestAlone) {
  GenerateRequest skipping = SomeRequest(150, 4);
  skipping.skip = Layered();
  switches_.refuse_bytes = 150 * kWidth * sizeof(float);
  auto refused = Submit(skipping);
  auto other = Submit(SomeRequest(60, 5));
  EXPECT_EQ(refused->Wait().status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(other->Wait().status.ok()) << other->finish_.status;
  switches_.refuse_bytes = 0;
  EXPECT_TRUE(Submit(skipping)->Wait().status.ok());
}

// A request whose start fails is in no step; a failure of that very step must not end it again.
TEST_F(EngineFailureTest, AFailedStartInAFailedStepEndsEachRequestOnce) {
  GenerateRequest skipping = SomeRequest(150, 4);
  skipping.skip = Layered();
  switches_.refuse_bytes = 150 * kWidth * sizeof(float);
  switches_.throw_in_prefill = true;
  std::vector<std::shared_ptr<CollectingSink>> all;
  for (int i = 0; i < 20; ++i) all.push_back(Submit(i % 2 ? skipping : SomeRequest(60, i)));
  for (const auto& sink : all) EXPECT_FALSE(sink->Wait().status.ok());
  switches_.refuse_bytes = 0;
  switches_.throw_in_prefill = false;
  ExpectHealthy();
  for (const auto& sink : all) EXPECT_EQ(sink->finishes_, 1);
}

// Stops in the first probe until it is told to go on.
class PausingOps : public cpu::CpuOps {
 public:
  struct Gate {
    absl::Notification reached, go;
  };
  explicit PausingOps(Gate& gate) : CpuOps(2), gate_(gate) {}
  void ProbeScores(TensorView q, TensorView k, const ProbeParams& params, float* scores) override {
    if (!gate_.reached.HasBeenNotified()) gate_.reached.Notify();
    gate_.go.WaitForNotification();
    CpuOps::ProbeScores(q, k, params, scores);
  }

 private:
  Gate& gate_;
};

// In steps so small that others of its slices are still to come.
TEST_F(LlmEngineTest, ACancelInTheMiddleOfTheSkippingLayersEndsItThere) {
  PausingOps::Gate gate;
  EngineOptions options = TinyOptions();
  options.max_token_gap = absl::Milliseconds(1);
  Engine* engine = Keep(OpenEngine(options, std::make_unique<PausingOps>(gate)));
  auto decoding = std::make_shared<CollectingSink>(), skipping = std::make_shared<CollectingSink>();
  const auto beside = engine->Submit(SomeRequest(30, 1, 1500), decoding);
  decoding->WaitForFirstToken();
  GenerateRequest request = SomeRequest(1500, 2);
  request.skip = Layered();
  const auto id = engine->Submit(request, skipping);
  ASSERT_TRUE(beside.ok() && id.ok());
  gate.reached.WaitForNotification();
  engine->Cancel(*id);
  gate.go.Notify();
  EXPECT_EQ(skipping->Wait().status.code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(skipping->tokens_.empty());
  engine->Cancel(*beside);
  decoding->Wait();
  engine->Drain(absl::Minutes(1));  // before the gate goes
}

// A sink that breaks the backend as soon as its request has ended, and so before the canary starts.
class BreakingSink : public CollectingSink {
 public:
  explicit BreakingSink(FailingOps::Switches& switches) : switches_(switches) {}
  void OnFinish(FinishEvent event) override {
    switches_.throw_in_prefill = true;
    CollectingSink::OnFinish(std::move(event));
  }

 private:
  FailingOps::Switches& switches_;
};

TEST_F(EngineFailureTest, AFailedCanaryTouchesNobody) {
  EngineOptions options = TinyOptions();
  options.canary.rate = 1;
  options.observer = &watch_;
  engine_ = Keep(OpenEngine(options, std::make_unique<FailingOps>(switches_)));
  auto sink = std::make_shared<BreakingSink>(switches_);
  GenerateRequest skipping = SomeRequest(150, 4);
  skipping.skip = Layered();
  ASSERT_TRUE(engine_->Submit(skipping, sink).ok());
  EXPECT_TRUE(sink->Wait().status.ok()) << sink->finish_.status;
  const CanaryEvent event = watch_.Wait(1)[0];
  EXPECT_EQ(event.outcome, CanaryEvent::Outcome::kFailed);
  EXPECT_NE(event.why.find("prefill broke"), std::string::npos) << event.why;
  EXPECT_EQ(engine_->load().kv_blocks_reserved, 0);
  switches_.throw_in_prefill = false;
  ExpectHealthy();
  EXPECT_EQ(sink->finishes_, 1);
}

TEST_F(EngineFailureTest, LogitsThatAreNoNumbersEndTheRequest) {
  switches_.answer_nan = true;
  auto sink = Submit(SomeRequest(50, 6));
  EXPECT_EQ(sink->Wait().status.code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(sink->tokens_.empty());
  switches_.answer_nan = false;
  ExpectHealthy();
}

}  // namespace
}  // namespace skipserve::testing
