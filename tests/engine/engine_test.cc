// The engine as its callers see it, on the tiny model with the reference backend: answers do not
// depend on company, every request ends exactly once, and nothing it held stays behind.
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "engine/skip/policy_fingerprint.h"
#include "tests/support/engine_caller.h"

namespace skipserve::testing {
namespace {

std::vector<GenerateRequest> MixedRequests() {
  std::vector<GenerateRequest> requests;
  for (int i = 0; i < 8; ++i) {
    requests.push_back(SomeRequest(20 + 37 * i, i));
    if (i % 2) requests.back().skip = Layered();
    if (i % 3 == 2) requests.back().sampling.temperature = 1.0f;
    requests.back().sampling.seed = 5 + i;
    requests.back().logprobs = 0;
  }
  return requests;
}

// One after the other, or all together.
std::vector<std::shared_ptr<CollectingSink>> Answers(Engine& engine, bool together) {
  std::vector<std::shared_ptr<CollectingSink>> sinks;
  for (GenerateRequest& request : MixedRequests()) {
    sinks.push_back(std::make_shared<CollectingSink>());
    EXPECT_TRUE(engine.Submit(std::move(request), sinks.back()).ok());
    if (!together) sinks.back()->Wait();
  }
  for (const auto& sink : sinks) sink->Wait();
  return sinks;
}

void ExpectEqual(const std::vector<std::shared_ptr<CollectingSink>>& a,
                 const std::vector<std::shared_ptr<CollectingSink>>& b) {
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i]->tokens_, b[i]->tokens_) << "request " << i;
    EXPECT_EQ(a[i]->logprobs_, b[i]->logprobs_) << "request " << i;
    EXPECT_EQ(a[i]->finishes_, 1);
    EXPECT_EQ(b[i]->finishes_, 1);
  }
}

TEST_F(LlmEngineTest, BatchedEqualsAlone) {
  for (const EngineOptions& options : EveryKind()) {
    SCOPED_TRACE(KindName(options));
    Engine* const engine = Open(options);
    const auto alone = Answers(*engine, false);
    ExpectEqual(Answers(*engine, true), alone);
  }
}

TEST_F(LlmEngineTest, ChunksDoNotMatter) {
  for (EngineOptions options : EveryKind()) {
    SCOPED_TRACE(KindName(options));
    options.chunk_tokens = 512;
    const auto whole = Answers(*Open(options), false);
    options.chunk_tokens = 32;
    ExpectEqual(Answers(*Open(options), false), whole);
  }
}

TEST_F(LlmEngineTest, SkipOffEqualsAnEngineWithoutSkipping) {
  EngineOptions options = TinyOptions();
  options.skip_enabled = false;
  Engine *const with = Open(), *const without = Open(options);
  GenerateRequest off = SomeRequest(180, 3), asked = off;
  asked.skip = Layered();
  off.logprobs = asked.logprobs = 3;
  auto a = std::make_shared<CollectingSink>(), b = std::make_shared<CollectingSink>();
  ASSERT_TRUE(with->Submit(off, a).ok());
  ASSERT_TRUE(without->Submit(asked, b).ok());
  a->Wait();
  b->Wait();
  EXPECT_EQ(a->tokens_, b->tokens_);
  EXPECT_EQ(a->logprobs_, b->logprobs_);
  EXPECT_EQ(b->finish_.report.skip_level, "off");
  EXPECT_NE(b->finish_.report.skip_reason, "");
  EXPECT_EQ(b->finish_.report.skip_ratio, 0);
  EXPECT_EQ(b->finish_.report.policy_fingerprint, "");
  EXPECT_EQ(b->finish_.report.expected_kl, 0.0);
  EXPECT_EQ(b->finish_.report.expected_agreement, 1.0);
}

TEST_F(LlmEngineTest, ReportsWhatWasSkipped) {
  Engine* const engine = Open();
  GenerateRequest request = SomeRequest(200, 3);
  request.skip = Layered();
  request.layer_report = request.row_report = true;
  auto sink = std::make_shared<CollectingSink>();
  ASSERT_TRUE(engine->Submit(request, sink).ok());
  const Report& report = sink->Wait().report;
  EXPECT_EQ(report.prompt_tokens, 200);
  EXPECT_EQ(report.completion_tokens, 12);
  EXPECT_EQ(report.skip_level, "custom");
  EXPECT_EQ(report.policy_fingerprint, PolicyFingerprint(request.skip.policy));
  EXPECT_EQ(report.expected_kl, std::nullopt);
  EXPECT_EQ(report.expected_agreement, std::nullopt);
  EXPECT_EQ(report.kv_token_layers, 2 * 200 + 100 + 80 + 60 + 40);
  EXPECT_DOUBLE_EQ(report.kv_skip_ratio, 1 - 680.0 / 1200);
  EXPECT_GT(report.flop_bound, 1);
  ASSERT_EQ(report.layers.size(), 6u);
  EXPECT_EQ(report.layers[3].candidates, 100);
  EXPECT_EQ(report.layers[3].attention, 80);
  ASSERT_EQ(report.rows.size(), 6u);
  EXPECT_EQ(report.rows[0].attention.size(), 200u);
  EXPECT_EQ(report.rows[5].ffn.size(), 40u);
  EXPECT_GE(report.total, report.ttft);
  EXPECT_GE(report.inter_token_max, report.inter_token_mean);
}

TEST_F(LlmEngineTest, StopsWhereItIsTold) {
  Engine* const engine = Open();
  const GenerateRequest plain = SomeRequest(40, 11, 24);
  auto all = std::make_shared<CollectingSink>();
  ASSERT_TRUE(engine->Submit(plain, all).ok());
  EXPECT_EQ(all->Wait().reason, FinishReason::kLength);
  ASSERT_EQ(all->tokens_.size(), 24u);

  GenerateRequest by_id = plain;
  by_id.stop.token_ids = {all->tokens_[5]};
  auto sink = std::make_shared<CollectingSink>();
  ASSERT_TRUE(engine->Submit(by_id, sink).ok());
  EXPECT_EQ(sink->Wait().reason, FinishReason::kStop);
  const size_t first =
      std::find(all->tokens_.begin(), all->tokens_.end(), all->tokens_[5]) - all->tokens_.begin();
  EXPECT_EQ(sink->tokens_.size(), first);

  GenerateRequest by_text = plain;
  const std::string stop = all->text_.substr(all->text_.size() / 2, 3);
  by_text.stop.strings = {stop};
  sink = std::make_shared<CollectingSink>();
  ASSERT_TRUE(engine->Submit(by_text, sink).ok());
  EXPECT_EQ(sink->Wait().reason, FinishReason::kStop);
  EXPECT_EQ(sink->text_, all->text_.substr(0, all->text_.find(stop)));

  GenerateRequest at_least = by_id;
  at_least.stop.min_tokens = 20;
  EXPECT_GE(Answer(*engine, at_least).size(), 19u);
}

TEST_F(LlmEngineTest, CancelFreesEverything) {
  Engine* const engine = Open();
  auto sink = std::make_shared<CollectingSink>();
  const auto id = engine->Submit(SomeRequest(400, 1, 1500), sink);
  ASSERT_TRUE(id.ok());
  sink->WaitForFirstToken();
  engine->Cancel(*id);
  EXPECT_TRUE(absl::IsCancelled(sink->Wait().status));
  auto at_once = std::make_shared<CollectingSink>();
  engine->Cancel(*engine->Submit(SomeRequest(400, 2), at_once));
  EXPECT_TRUE(absl::IsCancelled(at_once->Wait().status));
  engine->Cancel(*id);
  engine->Cancel(987654);
}

TEST_F(LlmEngineTest, DeadlinesEndRequests) {
  Engine* const engine = Open();
  GenerateRequest late = SomeRequest(50, 1), during = SomeRequest(50, 1, 1900);
  late.deadline = absl::Now() - absl::Seconds(1);
  during.deadline = absl::Now() + absl::Milliseconds(200);
  auto a = std::make_shared<CollectingSink>(), b = std::make_shared<CollectingSink>();
  EXPECT_TRUE(absl::IsDeadlineExceeded(engine->Submit(late, a).status()));
  ASSERT_TRUE(engine->Submit(during, b).ok());
  EXPECT_TRUE(absl::IsDeadlineExceeded(b->Wait().status));
  EXPECT_EQ(a->finishes_, 0);
}

TEST_F(LlmEngineTest, RefusesWhatItCannotServe) {
  EngineOptions options = TinyOptions();
  options.max_queue = 2;
  options.max_running = 1;
  Engine* const engine = Open(options);
  const auto status_of = [&](const GenerateRequest& request) {
    return engine->Submit(request, std::make_shared<CollectingSink>()).status();
  };
  GenerateRequest bad = SomeRequest(10, 1);
  bad.prompt.clear();
  EXPECT_TRUE(absl::IsInvalidArgument(status_of(bad)));
  bad = SomeRequest(5000, 1);
  EXPECT_TRUE(absl::IsInvalidArgument(status_of(bad)));
  EXPECT_NE(status_of(bad).message().find("5000"), std::string::npos);
  bad = SomeRequest(10, 1);
  bad.prompt[3] = 320;
  EXPECT_TRUE(absl::IsInvalidArgument(status_of(bad)));
  bad = SomeRequest(10, 1);
  bad.sampling.temperature = std::nanf("");
  EXPECT_TRUE(absl::IsInvalidArgument(status_of(bad)));
  bad = SomeRequest(10, 1);
  bad.skip.mode = SkipRequest::Mode::kLevel;
  bad.skip.level = "nonesuch";
  EXPECT_TRUE(absl::IsInvalidArgument(status_of(bad)));
  bad.skip = Layered();
  bad.skip.policy.ffn_score = FfnScore::kProduct;
  EXPECT_TRUE(absl::IsInvalidArgument(status_of(bad)));

  std::vector<std::shared_ptr<CollectingSink>> sinks;
  absl::Status full;
  for (int i = 0; i < 8 && full.ok(); ++i) {
    sinks.push_back(std::make_shared<CollectingSink>());
    full = engine->Submit(SomeRequest(300, i, 1500), sinks.back()).status();
  }
  EXPECT_TRUE(absl::IsResourceExhausted(full)) << full;
  sinks.pop_back();
  engine->Drain(absl::ZeroDuration());
  for (const auto& sink : sinks) EXPECT_TRUE(absl::IsUnavailable(sink->Wait().status));
  EXPECT_TRUE(absl::IsUnavailable(status_of(SomeRequest(10, 1))));
}

TEST_F(LlmEngineTest, DrainLetsRunningRequestsFinish) {
  Engine* const engine = Open();
  auto sink = std::make_shared<CollectingSink>();
  ASSERT_TRUE(engine->Submit(SomeRequest(60, 4, 30), sink).ok());
  engine->Drain(absl::Minutes(2));
  EXPECT_EQ(sink->finishes_, 1);
  EXPECT_TRUE(sink->finish_.status.ok());
  EXPECT_EQ(sink->tokens_.size(), 30u);
}

TEST_F(LlmEngineTest, ManyClientsAtOnce) {
  Engine* const engine = Open();
  std::vector<std::thread> clients;
  for (int c = 0; c < 4; ++c) {
    clients.emplace_back([&, c] {
      for (int i = 0; i < 6; ++i) {
        auto sink = std::make_shared<CollectingSink>();
        GenerateRequest request = SomeRequest(10 + 29 * i, c * 10 + i, 8);
        if (i % 2) request.skip = Layered();
        const auto id = engine->Submit(request, sink);
        ASSERT_TRUE(id.ok());
        if (i % 3 == 1) engine->Cancel(*id);
        sink->Wait();
        EXPECT_EQ(sink->finishes_, 1);
      }
    });
  }
  for (std::thread& client : clients) client.join();
}

TEST_F(LlmEngineTest, OpenExplainsWhatIsWrong) {
  EngineOptions options = TinyOptions();
  options.kv_memory_mb = 1;
  EXPECT_NE(OpenEngine(options).status().message().find("--kv-memory-mb"), std::string::npos);
  options = TinyOptions();
  options.dtype = "f64";
  EXPECT_NE(OpenEngine(options).status().message().find("--dtype"), std::string::npos);
  options = TinyOptions();
  options.model_path = "/nonexistent.gguf";
  EXPECT_TRUE(absl::IsNotFound(OpenEngine(options).status()));
}

}  // namespace
}  // namespace skipserve::testing
