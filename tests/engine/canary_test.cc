// Canaries on the tiny model: what they measure is what two separate runs give, they harm nobody,
// and levels fall back and recover by what they find.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "engine/open_model.h"
#include "engine/quality/divergence.h"
#include "engine/sampler.h"
#include "tests/support/canary_watch.h"
#include "tests/support/engine_caller.h"
#include "tests/support/run_model.h"

namespace skipserve::testing {
namespace {

using Outcome = CanaryEvent::Outcome;

// Before the engines in order of construction, since it must outlive them.
struct Watched {
  CanaryWatch watch_;
};

class CanaryTest : protected Watched, public LlmEngineTest {
 protected:
  EngineOptions Watching(EngineOptions options = TinyOptions(), double rate = 1) {
    options.canary.rate = rate;
    options.canary.guard.max_kl = 1000;
    options.observer = &watch_;
    return options;
  }

  // The request's own end; its canary comes later.
  std::shared_ptr<CollectingSink> Run(Engine& engine, const GenerateRequest& request) {
    auto sink = std::make_shared<CollectingSink>();
    EXPECT_TRUE(engine.Submit(request, sink).ok());
    EXPECT_TRUE(sink->Wait().status.ok()) << sink->finish_.status;
    return sink;
  }

  // A canary that has begun, and is far from done.
  void BeginLongCanary(Engine& engine) {
    GenerateRequest request = SomeRequest(1500, 1, 4);
    request.skip = Layered();
    Run(engine, request);
    while (engine.load().kv_blocks_reserved == 0 || engine.load().prefilling > 0 ||
           engine.load().decoding > 0) {
      std::this_thread::yield();
    }
  }
};

SkipRequest Level(const std::string& name) {
  SkipRequest skip;
  skip.mode = SkipRequest::Mode::kLevel;
  skip.level = name;
  return skip;
}

int64_t Count(const std::vector<CanaryEvent>& events, Outcome outcome) {
  return std::count_if(events.begin(), events.end(),
                       [&](const CanaryEvent& event) { return event.outcome == outcome; });
}

// What the canary of `request` must say, from a skipping and a dense run of their own.
void ExpectAsMeasured(const CanaryEvent& event, const GenerateRequest& request,
                      const SkipPolicy& policy, const std::vector<int32_t>& tokens,
                      ModelRunner& runner, double tolerance) {
  const size_t n = std::min<size_t>(tokens.size(), 32);
  const std::vector<int32_t> fed(tokens.begin(), tokens.begin() + static_cast<int64_t>(n) - 1);
  const auto dense = runner.Run(request.prompt, nullptr, fed).logits;
  const auto skipping = runner.Run(request.prompt, &policy, fed).logits;
  double kl = 0;
  int64_t agreeing = 0;
  for (size_t i = 0; i < n; ++i) {
    kl += KlDivergence(dense[i], skipping[i]) / static_cast<double>(n);
    agreeing += ArgMax(dense[i]) == ArgMax(skipping[i]);
  }
  EXPECT_EQ(event.outcome, Outcome::kMeasured) << event.why;
  EXPECT_EQ(event.prompt_tokens, static_cast<int64_t>(request.prompt.size()));
  EXPECT_EQ(event.tokens, static_cast<int64_t>(n));
  EXPECT_GT(kl, 100 * tolerance) << "the policy changes nothing, which proves nothing";
  EXPECT_NEAR(event.kl, kl, tolerance);
  EXPECT_EQ(event.agreeing, agreeing);
}

TEST_F(CanaryTest, MeasuresWhatTwoRunsGive) {
  size_t events = 0;
  for (const EngineOptions& options : EveryKind()) {
    SCOPED_TRACE(KindName(options));
    Engine* const engine = Open(Watching(options));
    RunOptions run;
    const auto precision = ChoosePrecision(options.dtype, options.kv_dtype);
    ASSERT_TRUE(precision.ok());
    run.dtype = precision->kv;
    run.weights = precision->weights;
    const auto runner = ModelRunner::Open(
        options.model_path, options.backend == "cpu" ? MakeCpuOps(2) : MakeReferenceOps(), run);
    for (const auto& [length, max_tokens] : {std::pair{60, 1}, {200, 12}, {330, 40}}) {
      for (const bool custom : {true, false}) {
        GenerateRequest request = SomeRequest(length, length, max_tokens);
        request.skip = custom ? Layered() : Level("moderate");
        if (length == 200) {  // sampling must not show in what is compared
          request.sampling.temperature = 1.5f;
          request.sampling.repetition_penalty = 1.3f;
        }
        const auto sink = Run(*engine, request);
        const CanaryEvent event = watch_.Wait(++events).back();
        EXPECT_EQ(event.level, custom ? "custom" : "moderate");
        const SkipPolicy policy =
            custom ? request.skip.policy : engine->info().skip_levels.at(1).policy;
        ExpectAsMeasured(event, request, policy, sink->tokens_, *runner, 1e-6);
      }
    }
  }
}

TEST_F(CanaryTest, FindsNothingWhereNextToNothingIsSkipped) {
  Engine* const engine = Open(Watching());
  GenerateRequest request = SomeRequest(1000, 3);
  request.skip = Layered();
  request.skip.policy.start = 5;  // the last layer alone, and one token there
  request.skip.policy.stage_ends = {5};
  request.skip.policy.budgets = request.skip.policy.keeps = {999};
  Run(*engine, request);
  const CanaryEvent event = watch_.Wait(1)[0];
  EXPECT_EQ(event.tokens, 12);
  EXPECT_EQ(event.agreeing, 12);
  EXPECT_LT(event.kl, 1e-3);
}

TEST_F(CanaryTest, OnlySkippedRequestsThatEndWellHaveOne) {
  Engine* const engine = Open(Watching());
  Run(*engine, SomeRequest(200, 1));
  GenerateRequest cancelled = SomeRequest(200, 2, 1500);
  cancelled.skip = Layered();
  auto sink = std::make_shared<CollectingSink>();
  const auto id = engine->Submit(cancelled, sink);
  sink->WaitForFirstToken();
  engine->Cancel(*id);
  sink->Wait();
  const std::vector<CanaryEvent> events = watch_.Wait(1);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].outcome, Outcome::kDropped);
  EXPECT_EQ(engine->load().kv_blocks_reserved, 0);
}

TEST_F(CanaryTest, TheSeedAndTheIdChooseTheShare) {
  EngineOptions options = Watching(TinyOptions(), 0.4);
  options.canary.seed = 7;
  Engine* const engine = Open(options);
  size_t chosen = 0;
  for (uint64_t id = 1; id <= 20; ++id) {
    GenerateRequest request = SomeRequest(40, static_cast<int>(id), 2);
    request.skip = Layered();
    Run(*engine, request);
    chosen += UniformDraw(7, 0, id) < 0.4;
    EXPECT_EQ(watch_.Wait(chosen).size(), chosen);
  }
  EXPECT_GT(chosen, 3u);
  EXPECT_LT(chosen, 17u);
}

TEST_F(CanaryTest, WithoutARateThereIsNone) {
  Engine* const engine = Open(Watching(TinyOptions(), 0));
  GenerateRequest request = SomeRequest(200, 1);
  request.skip = Layered();
  Run(*engine, request);
  engine->Drain(absl::Minutes(1));
  EXPECT_EQ(watch_.Wait(0).size(), 0u);
}

TEST_F(CanaryTest, LiveAnswersAreTheSame) {
  for (const EngineOptions& options : EveryKind()) {
    SCOPED_TRACE(KindName(options));
    std::vector<std::vector<std::vector<int32_t>>> answers;
    for (const double rate : {0.0, 1.0}) {
      Engine* const engine = Open(Watching(options, rate));
      std::vector<std::shared_ptr<CollectingSink>> sinks;
      for (int i = 0; i < 12; ++i) {
        GenerateRequest request = SomeRequest(20 + 41 * (i % 6), i, 4 + i);
        if (i % 2) request.skip = Layered();
        sinks.push_back(std::make_shared<CollectingSink>());
        EXPECT_TRUE(engine->Submit(request, sinks.back()).ok());
        if (i % 4 == 3) sinks.back()->Wait();  // others then come in while canaries run
      }
      answers.emplace_back();
      for (const auto& sink : sinks) {
        EXPECT_TRUE(sink->Wait().status.ok());
        answers.back().push_back(sink->tokens_);
      }
    }
    EXPECT_EQ(answers[0], answers[1]);
  }
}

TEST_F(CanaryTest, MoreThanCanWaitAreDropped) {
  Engine* const engine = Open(Watching());
  std::vector<std::shared_ptr<CollectingSink>> sinks;
  for (int i = 0; i < 6; ++i) {
    GenerateRequest request = SomeRequest(300, i, 30);
    request.skip = Layered();
    sinks.push_back(std::make_shared<CollectingSink>());
    EXPECT_TRUE(engine->Submit(request, sinks.back()).ok());
  }
  for (const auto& sink : sinks) EXPECT_TRUE(sink->Wait().status.ok());
  const std::vector<CanaryEvent> events = watch_.Wait(6);
  EXPECT_EQ(events.size(), 6u);
  EXPECT_EQ(Count(events, Outcome::kMeasured), 2);
  EXPECT_EQ(Count(events, Outcome::kDropped), 4);
}

TEST_F(CanaryTest, GivesItsMemoryToWhoNeedsIt) {
  EngineOptions options = Watching();
  options.kv_memory_mb = 2;
  options.promised_tokens = 0;
  while (!OpenEngine(options).ok()) ++options.kv_memory_mb;  // room for little more than a context
  Engine* const engine = Open(options);
  BeginLongCanary(*engine);
  auto sink = std::make_shared<CollectingSink>();
  const auto id = engine->Submit(SomeRequest(40, 2, 1900), sink);
  ASSERT_TRUE(id.ok());
  sink->WaitForFirstToken();
  engine->Cancel(*id);
  sink->Wait();
  const std::vector<CanaryEvent> events = watch_.Wait(1);
  EXPECT_EQ(events[0].outcome, Outcome::kDropped);
  EXPECT_EQ(events[0].why, "a request needed its memory");
  EXPECT_EQ(events[0].level, "custom");
}

TEST_F(CanaryTest, DoesNotDelayDrain) {
  Engine* const engine = Open(Watching());
  BeginLongCanary(*engine);
  engine->Drain(absl::Minutes(1));
  const EngineLoad load = engine->load();
  EXPECT_EQ(load.kv_blocks_used, 0);
  EXPECT_EQ(load.kv_blocks_reserved, 0);
  const CanaryEvent event = watch_.Wait(1)[0];
  EXPECT_EQ(event.outcome, Outcome::kDropped);
  EXPECT_EQ(event.why, "the server is shutting down");
}

TEST_F(CanaryTest, LevelsFallBackAndSaySo) {
  EngineOptions options = Watching();
  options.canary.guard.max_kl = 1e-9;
  Engine* const engine = Open(options);
  GenerateRequest request = SomeRequest(300, 5, 4);
  request.skip = Level("moderate");
  for (size_t i = 1; i <= 4; ++i) {
    EXPECT_EQ(Run(*engine, request)->finish_.report.skip_level, "moderate");
    watch_.Wait(i);
  }
  const std::vector<LevelChange> changes = watch_.WaitForChanges(1);
  EXPECT_EQ(changes[0].kind, LevelChange::Kind::kFellBack);
  EXPECT_EQ(changes[0].level.served_by, "cautious");
  const std::vector<LevelFallback> fallbacks = engine->load().fallbacks;
  ASSERT_EQ(fallbacks.size(), 1u);
  EXPECT_EQ(fallbacks[0].level, "moderate");

  const auto gentler = Run(*engine, request);
  const Report& report = gentler->finish_.report;
  EXPECT_EQ(report.skip_level, "cautious");
  EXPECT_EQ(report.skip_reason.find("level moderate fell back to cautious: canary KL "), 0u)
      << report.skip_reason;
  EXPECT_GT(report.skip_ratio, 0);
  request.skip = Level("cautious");
  EXPECT_EQ(Run(*engine, request)->tokens_, gentler->tokens_);
  EXPECT_EQ(watch_.Wait(6)[4].level, "cautious") << "the level that was used";

  // The gentlest falls back to dense; who brings a policy of their own keeps it.
  for (size_t i = 7; i <= 8; ++i) {
    Run(*engine, request);
    watch_.Wait(i);
  }
  watch_.WaitForChanges(2);
  const Report dense = Run(*engine, request)->finish_.report;
  EXPECT_EQ(dense.skip_level, "off");
  EXPECT_EQ(dense.skip_ratio, 0);
  EXPECT_EQ(dense.skip_reason.find("level cautious fell back to off: "), 0u) << dense.skip_reason;
  request.skip = Layered();
  EXPECT_EQ(Run(*engine, request)->finish_.report.skip_level, "custom");
}

TEST_F(CanaryTest, LevelsAreTriedAgain) {
  EngineOptions options = Watching();
  options.canary.guard.max_kl = 1e-9;
  options.canary.guard.hold = absl::Milliseconds(300);
  Engine* const engine = Open(options);
  GenerateRequest request = SomeRequest(300, 5, 4);
  request.skip = Level("moderate");
  for (size_t i = 1; i <= 4; ++i) {
    Run(*engine, request);
    watch_.Wait(i);
  }
  watch_.WaitForChanges(1);
  while (!engine->load().fallbacks.empty()) absl::SleepFor(absl::Milliseconds(10));
  for (size_t i = 5; i <= 8; ++i) {
    EXPECT_EQ(Run(*engine, request)->finish_.report.skip_level, "moderate");
    watch_.Wait(i);
  }
  const std::vector<LevelChange> changes = watch_.WaitForChanges(3);
  EXPECT_EQ(changes[1].kind, LevelChange::Kind::kRetried);
  EXPECT_EQ(changes[2].kind, LevelChange::Kind::kFellBack);
  EXPECT_EQ(changes[2].level.retry_in, absl::Milliseconds(600));
}

TEST_F(CanaryTest, OptionsOutOfRangeAreRefused) {
  for (const double rate : {-0.1, 1.1, std::nan("")}) {
    EXPECT_NE(OpenEngine(Watching(TinyOptions(), rate)).status().message().find("--canary"),
              std::string::npos);
  }
  EngineOptions options = Watching();
  options.canary.guard.max_kl = -1;
  EXPECT_FALSE(OpenEngine(options).ok());
}

}  // namespace
}  // namespace skipserve::testing
