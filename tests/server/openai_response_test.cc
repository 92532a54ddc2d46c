// The engine's events to OpenAI's shapes, without a server.
#include "server/openai_response.h"

#include <cmath>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/openai_logprobs.h"
#include "server/openai_models.h"
#include "server/openai_report.h"
#include "tests/support/fake_engine.h"

namespace skipserve {
namespace {

TokenEvent Token(int32_t id, std::string text) {
  TokenEvent event;
  event.id = id;
  event.text = std::move(text);
  event.logprob = -0.25f;
  event.top = {{id, -0.25f}, {'z', -INFINITY}};
  return event;
}

FinishEvent Finish(FinishReason reason, std::string text = "") {
  FinishEvent event;
  event.reason = reason;
  event.text = std::move(text);
  event.report.prompt_tokens = 10;
  event.report.completion_tokens = 2;
  event.report.skip_level = "fast";
  return event;
}

class OpenAiResponseTest : public ::testing::Test {
 protected:
  OpenAiResponse Make(int choices) {
    return OpenAiResponse({"id-1", "tiny", 123}, request_, choices, *tokenizer_);
  }
  OpenAiRequest request_;
  std::unique_ptr<Tokenizer> tokenizer_ = MakeByteTokenizer(false);
};

TEST_F(OpenAiResponseTest, TextHeldBackMakesNoChunkAndComesLater) {
  OpenAiResponse response = Make(1);
  ASSERT_EQ(response.OnToken(0, Token(0xc3, "")).size(), 1u);  // the role alone
  EXPECT_TRUE(response.OnToken(0, Token(0xc3, "")).empty());
  const auto chunks = response.OnFinish(0, Finish(FinishReason::kLength, "rest"));
  ASSERT_EQ(chunks.size(), 2u);
  EXPECT_EQ(chunks[0]["choices"][0]["delta"]["content"], "rest");
  EXPECT_EQ(chunks[1]["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(chunks[1]["choices"][0]["delta"], OrderedJson::object());
  EXPECT_EQ(chunks[1]["skip"]["level"], "fast");
  EXPECT_TRUE(response.done());
}

TEST_F(OpenAiResponseTest, AnAnswerWithoutTokensStillHasARole) {
  OpenAiResponse response = Make(1);
  const auto chunks = response.OnFinish(0, Finish(FinishReason::kStop));
  ASSERT_EQ(chunks.size(), 2u);
  EXPECT_EQ(chunks[0]["choices"][0]["delta"]["role"], "assistant");
}

TEST_F(OpenAiResponseTest, ReportsAreOfTheFirstChoiceOnTopAndOfEachBelow) {
  request_.n = 2;
  OpenAiResponse response = Make(2);
  FinishEvent second = Finish(FinishReason::kStop);
  second.report.skip_level = "other";
  response.CollectFinish(1, second);
  EXPECT_FALSE(response.done());
  response.CollectFinish(0, Finish(FinishReason::kStop));
  const OrderedJson whole = response.Whole();
  EXPECT_EQ(whole["skip"]["level"], "fast");
  EXPECT_EQ(whole["choices"][1]["skip"]["level"], "other");
  EXPECT_EQ(whole["usage"]["prompt_tokens"], 10);
  EXPECT_EQ(whole["usage"]["completion_tokens"], 4);
}

TEST_F(OpenAiResponseTest, AFailureIsKept) {
  request_.n = 2;
  OpenAiResponse response = Make(2);
  FinishEvent failed = Finish(FinishReason::kStop);
  failed.status = absl::InternalError("broken");
  EXPECT_TRUE(response.OnFinish(0, failed).empty());
  ASSERT_TRUE(response.failure());
  EXPECT_EQ(response.failure()->message(), "broken");
}

TEST_F(OpenAiResponseTest, ChatLogprobs) {
  request_.generate.logprobs = 2;
  OpenAiResponse response = Make(1);
  response.CollectToken(0, Token('a', "a"));
  response.CollectToken(0, Token(0xc3, ""));
  response.CollectFinish(0, Finish(FinishReason::kStop));
  const OrderedJson content = response.Whole()["choices"][0]["logprobs"]["content"];
  ASSERT_EQ(content.size(), 2u);
  EXPECT_EQ(content[0]["token"], "a");
  EXPECT_EQ(content[0]["logprob"], -0.25);
  EXPECT_EQ(content[0]["bytes"], OrderedJson({97}));
  EXPECT_EQ(content[0]["top_logprobs"][1]["token"], "z");
  EXPECT_EQ(content[0]["top_logprobs"][1]["logprob"], -9999.0);
  EXPECT_EQ(content[1]["token"], "bytes:\\xc3");
  EXPECT_EQ(content[1]["bytes"], OrderedJson({0xc3}));
}

TEST_F(OpenAiResponseTest, CompletionLogprobsInAStreamGoOnCounting) {
  request_.api = OpenAiApi::kCompletions;
  request_.generate.logprobs = 1;
  OpenAiResponse response = Make(1);
  for (int i = 0; i < 3; ++i) {
    const auto chunks = response.OnToken(0, Token('a', i == 1 ? "" : "a"));
    ASSERT_EQ(chunks.size(), 1u);  // also where the text is held back: the token is not
    const OrderedJson& logprobs = chunks[0]["choices"][0]["logprobs"];
    EXPECT_EQ(logprobs["tokens"], OrderedJson({"a"}));
    EXPECT_EQ(logprobs["text_offset"], OrderedJson({i}));
    EXPECT_EQ(logprobs["token_logprobs"], OrderedJson({-0.25}));
    EXPECT_EQ(logprobs["top_logprobs"][0]["a"], -0.25);
  }
}

TEST(OpenAiReport, TimingsAreSeconds) {
  Report report;
  report.ttft = absl::Milliseconds(250);
  report.cached_tokens = 7;
  EXPECT_EQ(TimingsJson(report)["ttft_seconds"], 0.25);
  EXPECT_EQ(UsageJson({report}, 1)["prompt_tokens_details"]["cached_tokens"], 7);
  EXPECT_FALSE(SkipJson(report).contains("reason"));
}

TEST(OpenAiReport, WhatIsExpectedIsLeftOutWhereNobodyKnows) {
  Report report;
  for (const char* field : {"policy_fingerprint", "expected_kl", "expected_agreement"}) {
    EXPECT_FALSE(SkipJson(report).contains(field)) << field;
  }
  report.policy_fingerprint = "00112233aabbccdd";
  report.expected_kl = 0.0;  // known to be nothing is not unknown
  report.expected_agreement = 0.875;
  const OrderedJson json = SkipJson(report);
  EXPECT_EQ(json["policy_fingerprint"], "00112233aabbccdd");
  EXPECT_EQ(json["expected_kl"], 0.0);
  EXPECT_EQ(json["expected_agreement"], 0.875);
}

TEST(OpenAiModels, ALevelThatNobodyMeasuredHasNoFigures) {
  ModelInfo info;
  info.skip_levels.resize(2);
  info.skip_levels[0].name = "gentle";
  info.skip_levels[1].name = "fast";
  info.skip_levels[1].figures.lengths = {{2000, 1, 1.5, 0.5, 0.75, 1, 2}};
  const OrderedJson levels = ModelJson("tiny", 1, info, true)["skip"]["levels"];
  ASSERT_EQ(levels.size(), 2u);
  EXPECT_EQ(levels[0]["name"], "gentle");
  EXPECT_FALSE(levels[0].contains("figures"));
  EXPECT_EQ(levels[1]["name"], "fast");
  EXPECT_EQ(levels[1]["figures"]["lengths"][0]["agreement"], 0.75);
}

}  // namespace
}  // namespace skipserve
