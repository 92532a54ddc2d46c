// One call of n choices: all or none, counted once, whoever is faster.
#include "server/completion.h"

#include <condition_variable>
#include <mutex>
#include <new>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/log.h"
#include "tests/support/fake_engine.h"

namespace skipserve {
namespace {

using testing::HasSubstr;
using testing::Not;

class Recorder : public CompletionListener {
 public:
  explicit Recorder(size_t n) : texts(n), ends(n) {}
  void OnToken(int choice, TokenEvent event) override {
    const std::lock_guard lock(mutex_);
    EXPECT_EQ(ends[choice], 0) << "a token after the end";
    texts[choice] += event.text;
    ++events_;
  }
  void OnFinish(int choice, FinishEvent event) override {
    const std::lock_guard lock(mutex_);
    ++ends[choice];
    ++events_;
    ++finished_;
    last_status = event.status;
    changed_.notify_all();
  }
  bool WaitForFinishes(int count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(30), [&] { return finished_ >= count; });
  }
  int events() {
    const std::lock_guard lock(mutex_);
    return events_;
  }

  std::vector<std::string> texts;
  std::vector<int> ends;
  absl::Status last_status;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int events_ = 0;
  int finished_ = 0;
};

CompletionRequest Request(const std::string& text = "hello", int n = 1) {
  CompletionRequest request;
  request.prompts.emplace_back(text.begin(), text.end());
  request.n = n;
  return request;
}

class CompletionTest : public testing::Test {
 protected:
  absl::StatusOr<std::shared_ptr<Completion>> Start(CompletionRequest request) {
    listener = std::make_shared<Recorder>(std::max(request.n, 1) * request.prompts.size());
    return Completion::Start(engine, metrics, std::move(request), {"id-1", "test"}, listener);
  }
  std::string Exposed() { return metrics.Expose(engine.load()); }

  Metrics metrics;
  FakeEngine engine;
  std::shared_ptr<Recorder> listener;
};

TEST_F(CompletionTest, EveryChoiceAnswersAndTheCallIsCountedOnce) {
  ASSERT_TRUE(Start(Request("hello", 3)).ok());
  ASSERT_TRUE(listener->WaitForFinishes(3));
  for (int choice = 0; choice < 3; ++choice) {
    EXPECT_EQ(listener->texts[choice], "The answer is 42.");
    EXPECT_EQ(listener->ends[choice], 1);
  }
  const std::string text = Exposed();
  EXPECT_THAT(text, HasSubstr("skipserve_requests_total{endpoint=\"test\",outcome=\"ok\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("skipserve_prompt_tokens_total 5\n"));
  EXPECT_THAT(text, HasSubstr("skipserve_generated_tokens_total 51\n"));
  EXPECT_THAT(text, HasSubstr("skipserve_prompt_token_layers_total 60\n"));
  EXPECT_THAT(text, HasSubstr("skipserve_ttft_seconds_count 3\n"));
  EXPECT_THAT(text, HasSubstr("skipserve_inter_token_seconds_count 48\n"));
  EXPECT_THAT(text, HasSubstr("skipserve_e2e_seconds_count 1\n"));
}

TEST_F(CompletionTest, AnswersAreNumberedPromptByPromptAndTheCallIsCountedOnce) {
  CompletionRequest request = Request("one", 2);
  request.prompts.push_back({'t', 'w', 'o', '!'});
  ASSERT_TRUE(Start(std::move(request)).ok());
  ASSERT_TRUE(listener->WaitForFinishes(4));
  EXPECT_EQ(listener->ends, (std::vector<int>{1, 1, 1, 1}));
  const std::vector<GenerateRequest> seen = engine.requests();
  ASSERT_EQ(seen.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(seen[i].prompt.size(), i < 2 ? 3u : 4u);
    EXPECT_EQ(seen[i].sampling.choice, i % 2);
  }
  const std::string text = Exposed();
  EXPECT_THAT(text, HasSubstr("skipserve_requests_total{endpoint=\"test\",outcome=\"ok\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("skipserve_prompt_tokens_total 7\n"));
  EXPECT_THAT(text, HasSubstr("skipserve_e2e_seconds_count 1\n"));
}

TEST_F(CompletionTest, WhereTheSecondIsRefusedTheFirstIsCancelled) {
  engine.RefuseNext({absl::OkStatus(), absl::ResourceExhaustedError("the queue is full")});
  const auto completion = Start(Request("hello", 3));
  EXPECT_EQ(completion.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(engine.WaitForIdle());
  EXPECT_EQ(engine.requests().size(), 1u);
  EXPECT_EQ(listener->events(), 0) << "the listener of a refused call hears nothing";
  const std::string text = Exposed();
  EXPECT_THAT(text,
              HasSubstr("skipserve_requests_total{endpoint=\"test\",outcome=\"rejected\"} 1\n"));
  EXPECT_THAT(text, Not(HasSubstr("outcome=\"cancelled\"")));
  EXPECT_THAT(text, Not(HasSubstr("outcome=\"ok\"")));
  EXPECT_THAT(text, HasSubstr("skipserve_prompt_tokens_total 0\n"));
}

TEST_F(CompletionTest, TheFirstOfARefusedCallIsCancelledInTheEngine) {
  engine.Pause();
  engine.RefuseNext({absl::OkStatus(), absl::ResourceExhaustedError("the queue is full")});
  EXPECT_FALSE(Start(Request("hello", 2)).ok());
  EXPECT_EQ(engine.cancelled(), 1);
  EXPECT_TRUE(engine.WaitForIdle());
}

TEST_F(CompletionTest, CancelEndsEveryChoice) {
  engine.Pause();
  const auto completion = Start(Request("hello", 2));
  ASSERT_TRUE(completion.ok());
  (*completion)->Cancel();
  (*completion)->Cancel();
  ASSERT_TRUE(listener->WaitForFinishes(2));
  EXPECT_EQ(listener->last_status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(listener->ends, (std::vector<int>{1, 1}));
  EXPECT_THAT(Exposed(), HasSubstr("outcome=\"cancelled\"} 1\n"));
}

TEST_F(CompletionTest, ItGoesOnWithoutItsHandle) {
  engine.Pause();
  ASSERT_TRUE(Start(Request()).ok());  // the handle is dropped here
  engine.Resume();
  ASSERT_TRUE(listener->WaitForFinishes(1));
  EXPECT_EQ(listener->texts[0], "The answer is 42.");
}

TEST_F(CompletionTest, WhatCannotBeIsRefusedWithTheNumbers) {
  EXPECT_EQ(Start(Request("a", 0)).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Start(Request("a", 129)).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Start(Request("")).status().code(), absl::StatusCode::kInvalidArgument);
  const auto status = Start(Request(std::string(4096, 'a'))).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("4096 tokens"));
  EXPECT_TRUE(engine.requests().empty());
  EXPECT_THAT(Exposed(), HasSubstr("outcome=\"invalid\"} 4\n"));
}

TEST_F(CompletionTest, ANucleusOfNothingHoldsTheBestToken) {
  CompletionRequest request = Request();
  request.generate.sampling.top_p = 0;
  ASSERT_TRUE(Start(std::move(request)).ok());
  ASSERT_TRUE(listener->WaitForFinishes(1));
  EXPECT_EQ(engine.requests()[0].sampling.temperature, 0);
  EXPECT_EQ(engine.requests()[0].sampling.top_p, 1);
}

// Has memory for one request only.
class SmallEngine : public FakeEngine {
 public:
  absl::StatusOr<RequestId> Submit(GenerateRequest request,
                                   std::shared_ptr<ResponseSink> sink) override {
    if (!requests().empty()) throw std::bad_alloc();
    return FakeEngine::Submit(std::move(request), std::move(sink));
  }
};

TEST(CompletionMemoryTest, WhatIsThrownEndsTheCallAndItsFirstAnswer) {
  Metrics metrics;
  SmallEngine engine;
  engine.Pause();
  const auto listener = std::make_shared<Recorder>(2);
  const auto status =
      Completion::Start(engine, metrics, Request("hello", 2), {"id", "test"}, listener).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("memory"));
  EXPECT_EQ(engine.cancelled(), 1);
  EXPECT_TRUE(engine.WaitForIdle());
  EXPECT_EQ(listener->events(), 0);
  EXPECT_THAT(metrics.Expose(engine.load()), HasSubstr("outcome=\"rejected\"} 1\n"));
}

TEST_F(CompletionTest, TheLogNamesTheLevelAndItsPolicy) {
  ASSERT_TRUE(SetUpLogging("info", "text").ok());
  const auto log_of = [&](const std::string& prompt) {
    testing::internal::CaptureStderr();
    EXPECT_TRUE(Start(Request(prompt)).ok());
    EXPECT_TRUE(listener->WaitForFinishes(1));
    return testing::internal::GetCapturedStderr();
  };
  const std::string skipping = log_of(std::string(200, 'x'));
  EXPECT_THAT(skipping, HasSubstr(" skip_level=\"balanced\""));
  EXPECT_THAT(skipping, HasSubstr(" policy_fingerprint=\"" + std::string(kFakeFingerprint) + "\""));
  const std::string dense = log_of("short");
  EXPECT_THAT(dense, HasSubstr(" skip_level=\"off\""));
  EXPECT_THAT(dense, Not(HasSubstr("policy_fingerprint")));
}

TEST(CallTest, ARefusedCallIsCountedAndLogged) {
  ASSERT_TRUE(SetUpLogging("info", "text").ok());
  testing::internal::CaptureStderr();
  Metrics metrics;
  CountRefused(metrics, {"id-7", "test"}, absl::InvalidArgumentError("no"), absl::Seconds(1));
  const std::string line = testing::internal::GetCapturedStderr();
  EXPECT_THAT(line, HasSubstr("request id=\"id-7\" endpoint=\"test\" outcome=\"invalid\""));
  EXPECT_THAT(line, Not(HasSubstr("tokens")));
  EXPECT_THAT(metrics.Expose({}), HasSubstr("outcome=\"invalid\"} 1\n"));
}

}  // namespace
}  // namespace skipserve
