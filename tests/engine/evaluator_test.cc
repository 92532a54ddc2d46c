// What a reading of a task is worth, against separate runs of the model for every figure.
#include "engine/quality/evaluator.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "engine/quality/divergence.h"
#include "engine/quality/equal_flops.h"
#include "engine/skip/ready_settings.h"
#include "tests/support/run_model.h"

namespace skipserve::testing {
namespace {

using ::testing::HasSubstr;
using Method = Reading::Method;

const std::string kTiny = std::string(SKIPSERVE_SOURCE_DIR) + "/tests/golden/tiny/tiny.gguf";
constexpr int64_t kPrompt = 200, kAnswer = 8;

SkipPolicy Layered(int32_t start, double first, double last) {
  SkipPolicy policy = LayeredPolicy(start, 6, first, last);
  policy.window = 4;
  policy.pool = 3;
  policy.recent = 4;
  policy.ffn_score = FfnScore::kAttention;
  return policy;
}

SkipPolicy Probing() {
  SkipPolicy policy = Layered(1, 0.4, 0.05);
  policy.probe_layers = {1, 4};
  policy.memory = 0.5;
  policy.ffn_score = FfnScore::kExact;
  return policy;
}

class EvaluatorTest : public ::testing::Test {
 protected:
  EvaluatorTest() {
    RunOptions options;
    options.max_rows = 64;
    runner_ = ModelRunner::Open(kTiny, MakeReferenceOps(), options);
    reader_ = *PromptReader::Create(runner_->decoder(), {}, DType::kF32, kPrompt + 40,
                                    [] { return absl::UnixEpoch(); });
    tokenizer_ = *Tokenizer::Create(runner_->file().tokenizer());
    task_.prompt = SomePrompt(kPrompt);
    task_.document_begin = 20;
    task_.document_end = 180;
    task_.max_new_tokens = kAnswer;
    task_.continuation = SomePrompt(15, 9);
    // Some answers of which a greedy run finds one or another.
    for (int32_t id = 3; id < 320; id += 2) {
      task_.answers.emplace_back(tokenizer_->TokenBytes(id));
    }
  }

  const ModelConfig& config() const { return runner_->file().config(); }

  std::vector<Outcome> Evaluate(const std::vector<Reading>& readings,
                                Evaluator::Options options = {}) {
    Evaluator evaluator(*reader_, *tokenizer_, config(), std::move(options));
    absl::StatusOr<std::vector<Outcome>> outcomes = evaluator.Evaluate(task_, readings);
    EXPECT_TRUE(outcomes.ok()) << outcomes.status();
    if (!outcomes.ok()) return std::vector<Outcome>(1 + readings.size());
    EXPECT_EQ(outcomes->size(), 1 + readings.size());
    dense_answer_ = evaluator.dense_answer();
    return *outcomes;
  }

  absl::Status ErrorOf(const Reading& reading) {
    return Evaluator(*reader_, *tokenizer_, config(), {}).Evaluate(task_, {reading}).status();
  }

  std::vector<int32_t> Greedy(const std::vector<int32_t>& prompt, const SkipPolicy* policy,
                              int64_t tokens = kAnswer) {
    std::vector<int32_t> answer;
    while (static_cast<int64_t>(answer.size()) < tokens) {
      answer.push_back(ArgMax(runner_->Run(prompt, policy, answer).logits.back()));
    }
    return answer;
  }

  // To the task, whose prompt does not change once this was called.
  const std::vector<int32_t>& DenseAnswer() {
    if (dense_tokens_.empty()) dense_tokens_ = Greedy(task_.prompt, nullptr);
    return dense_tokens_;
  }

  // The figures of a prompt under a policy (null: dense), from runs of their own.
  Outcome Expected(const std::vector<int32_t>& prompt, const SkipPolicy* policy) {
    const std::vector<int32_t> answer = DenseAnswer();
    const auto dense = runner_->Run(task_.prompt, nullptr, answer).logits,
               mine = runner_->Run(prompt, policy, answer).logits;
    Outcome o;
    const int64_t tokens = static_cast<int64_t>(prompt.size());
    o.flops = policy ? PrefillFlops(MakePlan(*policy, config(), tokens), *policy, config(), {})
                     : PrefillFlops(DensePlan(config(), tokens), {}, config(), {});
    o.answer_tokens = kAnswer;
    for (size_t i = 0; i < answer.size(); ++i) {
      o.kl += KlDivergence(dense[i], mine[i]);
      o.agreed += ArgMax(dense[i]) == ArgMax(mine[i]);
    }
    o.score = ScoreAnswer(task_, tokenizer_->Decode(Greedy(prompt, policy), true));
    const auto continued = runner_->Run(prompt, policy, task_.continuation).logits;
    for (size_t i = 0; i < task_.continuation.size(); ++i) {
      o.loss += TokenLoss(continued[i], task_.continuation[i]) / 15;
    }
    return o;
  }

  void ExpectEqual(const Outcome& actual, const Outcome& expected) {
    EXPECT_DOUBLE_EQ(actual.flops, expected.flops);
    EXPECT_EQ(actual.answer_tokens, expected.answer_tokens);
    EXPECT_EQ(actual.agreed, expected.agreed);
    EXPECT_NEAR(actual.kl, expected.kl, 1e-9);
    EXPECT_EQ(actual.score, expected.score);
    EXPECT_NEAR(actual.loss, expected.loss, 1e-9);
    EXPECT_EQ(actual.prefill_seconds, 0) << "on a clock that stands still";
  }

  Task task_;
  std::string dense_answer_;
  std::vector<int32_t> dense_tokens_;
  std::unique_ptr<ModelRunner> runner_;
  std::unique_ptr<PromptReader> reader_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(EvaluatorTest, FiguresAreThoseOfSeparateRuns) {
  const SkipPolicy gentle = Layered(3, 0.7, 0.4), fast = Layered(2, 0.3, 0.05);
  const std::vector<Outcome> outcomes = Evaluate({{"gentle", Method::kSkip, gentle},
                                                  {"fast", Method::kSkip, fast},
                                                  {"probing", Method::kSkip, Probing()}});
  ExpectEqual(outcomes[0], Expected(task_.prompt, nullptr));
  ExpectEqual(outcomes[1], Expected(task_.prompt, &gentle));
  ExpectEqual(outcomes[2], Expected(task_.prompt, &fast));
  const SkipPolicy probing = Probing();
  ExpectEqual(outcomes[3], Expected(task_.prompt, &probing));
  EXPECT_EQ(dense_answer_, tokenizer_->Decode(DenseAnswer(), true));
  for (const Outcome& o : outcomes) {
    EXPECT_DOUBLE_EQ(o.flop_bound, outcomes[0].flops / o.flops);
    EXPECT_GT(o.loss, 0);
    EXPECT_GT(o.score, 0);
  }
  EXPECT_GT(outcomes[2].kl, outcomes[1].kl);
  EXPECT_GT(outcomes[2].flop_bound, outcomes[1].flop_bound);
}

TEST_F(EvaluatorTest, DenseIsNoDistanceFromItself) {
  const SkipPolicy nothing = Layered(2, 1000, 1000);
  for (const Outcome& o : Evaluate({{"skips nothing", Method::kSkip, nothing}})) {
    EXPECT_EQ(o.kl, 0);
    EXPECT_EQ(o.agreed, o.answer_tokens);
    EXPECT_EQ(o.answer_tokens, kAnswer);
    EXPECT_EQ(o.flop_bound, 1);
    ExpectEqual(o, Expected(task_.prompt, nullptr));
  }
}

std::vector<int32_t> Last(const Task& task, int64_t tokens) {
  std::vector<int32_t> kept = task.prompt;
  const auto begin = kept.begin() + task.document_begin;
  kept.erase(begin, begin + (kPrompt - tokens));
  return kept;
}

TEST_F(EvaluatorTest, BaselinesCostAtMostWhatThePolicyCosts) {
  for (const SkipPolicy& policy : {Layered(2, 0.5, 0.2), Layered(1, 0.3, 0.1), Probing()}) {
    const std::vector<Outcome> outcomes =
        Evaluate({{"last", Method::kLast, policy},
                  {"once", Method::kPruneOnce, policy},
                  {"policy", Method::kSkip, policy}});  // a shorter read before it spoils nothing
    ExpectEqual(outcomes[3], Expected(task_.prompt, &policy));
    const double budget = outcomes[3].flops;

    int64_t tokens = 0;
    SkipPolicy once = policy;
    once.stage_ends = {once.start};
    once.probe_layers = {};
    const auto prune = [&](int64_t kept) {
      once.budgets = once.keeps = {double(kept)};
      return PrefillFlops(MakePlan(once, config(), kPrompt), once, config(), {});
    };
    while (PrefillFlops(DensePlan(config(), tokens + 1), {}, config(), {}) <= budget) ++tokens;
    ASSERT_GT(tokens, kPrompt - 160) << "the document is longer than what is left out of it";
    ASSERT_LT(tokens, kPrompt);
    ExpectEqual(outcomes[1], Expected(Last(task_, tokens), nullptr));
    EXPECT_LE(outcomes[1].flops, budget);

    int64_t kept = 0;
    while (prune(kept + 1) <= budget) ++kept;
    EXPECT_LE(prune(kept), budget);
    ASSERT_LT(kept, kPrompt);
    ExpectEqual(outcomes[2], Expected(task_.prompt, &once));
    EXPECT_LE(outcomes[2].flops, budget);
    for (size_t i = 1; i < 3; ++i) EXPECT_GT(outcomes[i].kl, 0);
  }
}

TEST_F(EvaluatorTest, WhatIsNotTheDocumentStays) {
  task_.document_begin = 90;
  task_.document_end = 100;
  const SkipPolicy policy = Layered(1, 0.3, 0.1);
  const Outcome outcome = Evaluate({{"last", Method::kLast, policy}})[1];
  ExpectEqual(outcome, Expected(Last(task_, kPrompt - 10), nullptr));
  EXPECT_GT(outcome.flops, PrefillFlops(MakePlan(policy, config(), kPrompt), policy, config(), {}));
}

TEST_F(EvaluatorTest, AnswersEndWhereTheModelOrTheTaskEndsThem) {
  const std::vector<int32_t> answer = DenseAnswer();
  Evaluator::Options options;
  options.stop_ids = {answer[3]};
  const int64_t stopped = std::find(answer.begin(), answer.end(), answer[3]) - answer.begin() + 1;
  const Reading reading = {"skip", Method::kSkip, Probing()};
  for (const Outcome& o : Evaluate({reading}, options)) EXPECT_EQ(o.answer_tokens, stopped);
  options.stop_ids.clear();
  options.max_answer_tokens = 4;
  for (const Outcome& o : Evaluate({reading}, options)) EXPECT_EQ(o.answer_tokens, 4);
  task_.max_new_tokens = 0;
  for (const Outcome& o : Evaluate({reading}, options)) EXPECT_EQ(o.answer_tokens, 4);
}

TEST_F(EvaluatorTest, WithoutAnswersOrAContinuationTheirFiguresAreZero) {
  const Reading reading = {"skip", Method::kSkip, Probing()};
  const Outcome whole = Evaluate({reading})[1];
  Evaluator::Options options;
  options.answers = false;
  std::vector<Outcome> outcomes = Evaluate({reading}, options);
  EXPECT_GT(outcomes[0].score, 0);
  EXPECT_EQ(outcomes[1].score, 0);
  EXPECT_EQ(outcomes[1].kl, whole.kl);
  task_.continuation.clear();
  task_.answers.clear();
  for (const Outcome& o : Evaluate({reading})) {
    EXPECT_EQ(o.loss, 0);
    EXPECT_EQ(o.score, 0);
  }
}

TEST_F(EvaluatorTest, WhatCannotBeReadIsRefused) {
  SkipPolicy policy = Layered(1, 0.5, 0.1);
  policy.stage_ends.back() = 6;
  EXPECT_EQ(ErrorOf({"", Method::kSkip, policy}).code(), absl::StatusCode::kInvalidArgument);
  policy = Layered(1, 0.5, 0.1);
  policy.ffn_score = FfnScore::kProduct;
  const absl::Status product = ErrorOf({"", Method::kLast, policy});
  EXPECT_EQ(product.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(product.message()), HasSubstr("calibrate"));
  task_.prompt = SomePrompt(kPrompt + 31);
  EXPECT_EQ(ErrorOf({"", Method::kSkip, Probing()}).code(), absl::StatusCode::kInvalidArgument);
  task_.max_new_tokens = 9;
  task_.continuation.clear();
  EXPECT_TRUE(ErrorOf({"", Method::kSkip, Probing()}).ok());
}

}  // namespace
}  // namespace skipserve::testing
