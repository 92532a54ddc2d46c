#include "engine/quality/evaluator.h"

#include <algorithm>
#include <set>
#include <utility>

#include "engine/quality/divergence.h"
#include "engine/quality/equal_flops.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

// The prompt without the document's first tokens, so that `tokens` are left of it; what is not the
// document stays, and at least one token of that does.
std::vector<int32_t> KeepLast(const Task& task, int64_t tokens) {
  const int64_t all = static_cast<int64_t>(task.prompt.size());
  const int64_t dropped =
      std::clamp<int64_t>(all - tokens, 0, task.document_end - task.document_begin);
  std::vector<int32_t> kept(task.prompt.begin(), task.prompt.begin() + task.document_begin);
  kept.insert(kept.end(), task.prompt.begin() + task.document_begin + dropped, task.prompt.end());
  return kept;
}

}  // namespace

Evaluator::Evaluator(PromptReader& reader, const Tokenizer& tokenizer, const ModelConfig& config,
                     Options options)
    : reader_(reader), tokenizer_(tokenizer), config_(config), options_(std::move(options)) {}

absl::StatusOr<std::vector<Outcome>> Evaluator::Evaluate(const Task& task,
                                                         absl::Span<const Reading> readings) {
  const int64_t tokens = static_cast<int64_t>(task.prompt.size());
  std::set<int32_t> starts;
  std::vector<Outcome> outcomes(1 + readings.size());
  std::vector<SkipPolicy> policies;
  std::vector<SkipPlan> plans;
  outcomes[0].flops =
      PrefillFlops(DensePlan(config_, tokens), SkipPolicy(), config_, options_.proxy);
  for (size_t i = 0; i < readings.size(); ++i) {
    RETURN_IF_ERROR(ValidatePolicy(readings[i].policy, config_.layers));
    RETURN_IF_ERROR(CheckProxy(readings[i].policy, options_.proxy));
    policies.push_back(readings[i].policy);
    SkipPolicy& policy = policies.back();
    plans.push_back(MakePlan(policy, config_, tokens));
    double& flops = outcomes[i + 1].flops;
    flops = PrefillFlops(plans.back(), policy, config_, options_.proxy);
    if (readings[i].method == Reading::Method::kPruneOnce) {
      policy = PruneOnceFor(flops, policy, policy.start, tokens, config_, options_.proxy);
      plans.back() = MakePlan(policy, config_, tokens);
      flops = PrefillFlops(plans.back(), policy, config_, options_.proxy);
    }
    starts.insert(plans.back().trunk_layers);
  }
  starts.erase(config_.layers);
  RETURN_IF_ERROR(ReadDense(task, std::vector<int32_t>(starts.begin(), starts.end()), outcomes[0]));

  // Readings of the whole prompt first: a shorter one takes the place of the dense read.
  for (size_t i = 0; i < readings.size(); ++i) {
    if (readings[i].method == Reading::Method::kLast) continue;
    RETURN_IF_ERROR(reader_.Read(policies[i], plans[i], nullptr));
    RETURN_IF_ERROR(Compare(task, outcomes[i + 1]));
  }
  for (size_t i = 0; i < readings.size(); ++i) {
    if (readings[i].method != Reading::Method::kLast) continue;
    RETURN_IF_ERROR(ReadLast(task, outcomes[i + 1]));
  }
  for (Outcome& outcome : outcomes) outcome.flop_bound = outcomes[0].flops / outcome.flops;
  return outcomes;
}

absl::Status Evaluator::ReadDense(const Task& task, absl::Span<const int32_t> starts,
                                  Outcome& outcome) {
  RETURN_IF_ERROR(reader_.ReadDense(task.prompt, starts));
  most_tokens_ = options_.max_answer_tokens;
  if (task.max_new_tokens > 0) most_tokens_ = std::min(most_tokens_, task.max_new_tokens);
  ASSIGN_OR_RETURN(dense_tokens_, reader_.Answer(most_tokens_, options_.stop_ids));
  ASSIGN_OR_RETURN(dense_logits_, reader_.Force(dense_tokens_));
  dense_text_ = tokenizer_.Decode(dense_tokens_, /*skip_special=*/true);
  outcome.prefill_seconds = absl::ToDoubleSeconds(reader_.prefill_time());
  outcome.answer_tokens = outcome.agreed = static_cast<int64_t>(dense_tokens_.size());
  outcome.score = task.answers.empty() ? 0 : ScoreAnswer(task, dense_text_);
  if (task.continuation.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(outcome.loss, Loss(task));
  return absl::OkStatus();
}

absl::StatusOr<double> Evaluator::Loss(const Task& task) {
  ASSIGN_OR_RETURN(const std::vector<float> logits, reader_.Force(task.continuation));
  const size_t vocab = config_.vocab_size;
  double loss = 0;
  for (size_t i = 0; i < task.continuation.size(); ++i) {
    loss += TokenLoss(absl::MakeConstSpan(logits).subspan(i * vocab, vocab), task.continuation[i]);
  }
  return loss / double(task.continuation.size());
}

// Fills in what the prompt's present reading does along the dense answer, and on its own.
absl::Status Evaluator::Compare(const Task& task, Outcome& outcome) {
  outcome.prefill_seconds = absl::ToDoubleSeconds(reader_.prefill_time());
  ASSIGN_OR_RETURN(const std::vector<float> logits, reader_.Force(dense_tokens_));
  const size_t vocab = config_.vocab_size;
  outcome.answer_tokens = static_cast<int64_t>(dense_tokens_.size());
  for (size_t i = 0; i < dense_tokens_.size(); ++i) {
    const auto dense = absl::MakeConstSpan(dense_logits_).subspan(i * vocab, vocab);
    const auto mine = absl::MakeConstSpan(logits).subspan(i * vocab, vocab);
    outcome.kl += KlDivergence(dense, mine);
    outcome.agreed += ArgMax(mine) == ArgMax(dense);
  }
  if (!task.continuation.empty()) {
    ASSIGN_OR_RETURN(outcome.loss, Loss(task));
  }
  if (!options_.answers || task.answers.empty()) return absl::OkStatus();
  std::string text = dense_text_;  // where every greedy token agrees, so does the answer
  if (outcome.agreed < outcome.answer_tokens) {
    ASSIGN_OR_RETURN(const std::vector<int32_t> answer,
                     reader_.Answer(most_tokens_, options_.stop_ids));
    text = tokenizer_.Decode(answer, /*skip_special=*/true);
  }
  outcome.score = ScoreAnswer(task, text);
  return absl::OkStatus();
}

absl::Status Evaluator::ReadLast(const Task& task, Outcome& outcome) {
  const int64_t tokens =
      DenseTokensFor(outcome.flops, static_cast<int64_t>(task.prompt.size()), config_);
  const std::vector<int32_t> kept = KeepLast(task, tokens);
  outcome.flops = PrefillFlops(DensePlan(config_, static_cast<int64_t>(kept.size())), SkipPolicy(),
                               config_, options_.proxy);
  RETURN_IF_ERROR(reader_.ReadDense(kept, {}));
  return Compare(task, outcome);
}

}  // namespace skipserve
