// Answers that outgrow the memory: whoever gives way goes on later as if nothing had happened.
#include <gtest/gtest.h>

#include <vector>

#include "tests/support/engine_caller.h"

namespace skipserve::testing {
namespace {

class PreemptionTest : public LlmEngineTest {};

std::vector<GenerateRequest> LongAnswers() {
  std::vector<GenerateRequest> requests;
  for (int i = 0; i < 12; ++i) {
    requests.push_back(SomeRequest(60 + 10 * (i % 6), i, /*max_tokens=*/250));
    if (i % 2) requests.back().skip = Layered();
    if (i % 3 == 2) requests.back().sampling.temperature = 1.0f;
    requests.back().sampling.seed = 5 + i;
    requests.back().sampling.repetition_penalty = 1.1f;  // counts must not be taken twice
    requests.back().logprobs = 0;
  }
  return requests;
}

std::vector<std::shared_ptr<CollectingSink>> Together(Engine& engine) {
  std::vector<std::shared_ptr<CollectingSink>> sinks;
  for (GenerateRequest& request : LongAnswers()) {
    sinks.push_back(std::make_shared<CollectingSink>());
    EXPECT_TRUE(engine.Submit(std::move(request), sinks.back()).ok());
  }
  for (const auto& sink : sinks) EXPECT_TRUE(sink->Wait().status.ok()) << sink->finish_.status;
  return sinks;
}

TEST_F(PreemptionTest, AnswersAreTheSame) {
  for (EngineOptions options : EveryKind()) {
    for (const bool cache : {false, true}) {
      SCOPED_TRACE(KindName(options));
      options.prefix_cache = cache;
      Engine* const large = Open(options);
      EngineOptions tight = options;
      tight.kv_memory_mb = 1;
      tight.max_context = 400;
      tight.promised_tokens = 1;
      Engine* const small = Open(tight);
      const auto expected = Together(*large), actual = Together(*small);
      EXPECT_EQ(large->load().preemptions, 0);
      EXPECT_GT(small->load().preemptions, 0);
      for (size_t i = 0; i < expected.size(); ++i) {
        EXPECT_EQ(actual[i]->tokens_, expected[i]->tokens_) << i;
        EXPECT_EQ(actual[i]->text_, expected[i]->text_) << i;
        EXPECT_EQ(actual[i]->logprobs_, expected[i]->logprobs_) << i;
        EXPECT_EQ(actual[i]->finishes_, 1);
      }
    }
  }
}

TEST_F(PreemptionTest, NothingGivesWayWhereAllIsPromised) {
  EngineOptions options = TinyOptions();
  options.kv_memory_mb = 1;
  options.max_context = 400;
  options.promised_tokens = 0;
  Engine* const engine = Open(options);
  Together(*engine);
  EXPECT_EQ(engine->load().preemptions, 0);
}

TEST_F(PreemptionTest, ADeadlineThatCannotBeMetIsRefusedAtOnce) {
  Engine* const engine = Open();
  GenerateRequest request = SomeRequest(1500, 1);
  request.deadline = absl::Now() + absl::Microseconds(1);
  const auto id = engine->Submit(request, std::make_shared<CollectingSink>());
  EXPECT_EQ(id.status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(engine->load().waiting, 0);
}

}  // namespace
}  // namespace skipserve::testing
