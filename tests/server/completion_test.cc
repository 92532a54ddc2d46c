// One call of n choices: all or none, counted once, whoever is faster.
#include "server/completion.h"

#include <condition_variable>
#include <mutex>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/prompt.h"
#include "tests/support/fake_engine.h"

namespace skipserve {
namespace {

using testing::HasSubstr;
using testing::Not;

class Recorder : public CompletionListener {
 public:
  explicit Recorder(int n) : texts(n), ends(n) {}
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

GenerateRequest Request(const std::string& text = "hello") {
  GenerateRequest request;
  request.prompt.assign(text.begin(), text.end());
  return request;
}

class CompletionTest : public testing::Test {
 protected:
  absl::StatusOr<std::shared_ptr<Completion>> Start(GenerateRequest request, int n) {
    listener = std::make_shared<Recorder>(std::max(n, 1));
    return Completion::Start(engine, metrics, std::move(request), n, {"id-1", "test"}, listener);
  }
  std::string Exposed() { return metrics.Expose(engine.load()); }

  Metrics metrics;
  FakeEngine engine;
  std::shared_ptr<Recorder> listener;
};

TEST_F(CompletionTest, EveryChoiceAnswersAndTheCallIsCountedOnce) {
  ASSERT_TRUE(Start(Request(), 3).ok());
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

TEST_F(CompletionTest, WhereTheSecondIsRefusedTheFirstIsCancelled) {
  engine.RefuseNext({absl::OkStatus(), absl::ResourceExhaustedError("the queue is full")});
  const auto completion = Start(Request(), 3);
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
  EXPECT_FALSE(Start(Request(), 2).ok());
  EXPECT_EQ(engine.cancelled(), 1);
  EXPECT_TRUE(engine.WaitForIdle());
}

TEST_F(CompletionTest, CancelEndsEveryChoice) {
  engine.Pause();
  const auto completion = Start(Request(), 2);
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
  ASSERT_TRUE(Start(Request(), 1).ok());  // the handle is dropped here
  engine.Resume();
  ASSERT_TRUE(listener->WaitForFinishes(1));
  EXPECT_EQ(listener->texts[0], "The answer is 42.");
}

TEST_F(CompletionTest, WhatCannotBeIsRefusedWithTheNumbers) {
  EXPECT_EQ(Start(Request(), 0).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Start(Request(), 129).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Start(Request(""), 1).status().code(), absl::StatusCode::kInvalidArgument);
  const auto status = Start(Request(std::string(4096, 'a')), 1).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("4096 tokens"));
  EXPECT_TRUE(engine.requests().empty());
  EXPECT_THAT(Exposed(), HasSubstr("outcome=\"invalid\"} 4\n"));
}

TEST(PromptTest, TheContextHoldsPromptAndAnswer) {
  ModelInfo info;
  info.max_context = 100;
  EXPECT_TRUE(CheckContext(info, 99, 0).ok());
  EXPECT_FALSE(CheckContext(info, 100, 0).ok());
  EXPECT_TRUE(CheckContext(info, 60, 40).ok());
  const absl::Status status = CheckContext(info, 60, 41);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  for (const char* number : {"60", "41", "100"}) {
    EXPECT_THAT(std::string(status.message()), HasSubstr(number));
  }
  EXPECT_FALSE(CheckContext(info, 1, std::numeric_limits<int64_t>::max()).ok());
}

TEST(PromptTest, BosComesOnceAndOnlyWhereItIsWanted) {
  FakeOptions options;
  const FakeEngine without(options);
  options.add_bos = true;
  const FakeEngine with(options);
  using Ids = std::vector<int32_t>;
  EXPECT_EQ(*PromptFromText(without, "a"), (Ids{'a'}));
  EXPECT_EQ(*PromptFromText(with, "a"), (Ids{kFakeBos, 'a'}));
  EXPECT_EQ(*PromptFromText(with, "<s>a"), (Ids{kFakeBos, 'a'}));
  EXPECT_EQ(PromptFromChat(with, {{"user", "<s>"}})->at(1), kFakeStart);
  EXPECT_EQ(*PromptFromIds(with, {7}), (Ids{7}));
  EXPECT_FALSE(PromptFromIds(with, {kFakeVocab}).ok());
}

}  // namespace
}  // namespace skipserve
