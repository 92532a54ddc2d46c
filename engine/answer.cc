#include "engine/answer.h"

#include <algorithm>
#include <utility>

#include "absl/algorithm/container.h"

namespace skipserve {

Answer::Answer(GenerateRequest request, ResolvedSkip skip, SequenceShape shape, int64_t max_tokens,
               const Tokenizer& tokenizer, std::shared_ptr<ResponseSink> sink, absl::Time submitted)
    : request_(std::move(request)),
      skip_(std::move(skip)),
      shape_(std::move(shape)),
      max_tokens_(max_tokens),
      tokenizer_(tokenizer),
      sink_(std::move(sink)),
      decoder_(tokenizer, request_.skip_special_tokens),
      stops_(request_.stop.strings),
      submitted_(submitted) {
  counts_.AddPrompt(request_.prompt);
}

bool Answer::EndsAnswer(int32_t token) const {
  if (absl::c_linear_search(request_.stop.token_ids, token)) return true;
  return !request_.stop.ignore_eos && absl::c_linear_search(tokenizer_.spec().eos_ids, token);
}

// What may not be drawn yet: before min_tokens, nothing that would end the answer.
std::vector<int32_t> Answer::BannedTokens() const {
  if (generated_ >= request_.stop.min_tokens) return {};
  std::vector<int32_t> banned = request_.stop.token_ids;
  if (!request_.stop.ignore_eos)
    absl::c_copy(tokenizer_.spec().eos_ids, std::back_inserter(banned));
  return banned;
}

void Answer::NoteTime(absl::Time now) {
  if (generated_ == 1) first_token_ = now;
  if (generated_ > 1) longest_gap_ = std::max(longest_gap_, now - latest_token_);
  latest_token_ = now;
}

absl::StatusOr<bool> Answer::Next(absl::Span<const float> logits, const Sampler& sampler,
                                  absl::Time now) {
  const uint64_t position = request_.prompt.size() + generated_;
  absl::StatusOr<Sampler::Result> drawn =
      sampler.Draw(logits, request_.sampling, counts_, BannedTokens(), position, request_.logprobs);
  if (!drawn.ok()) return drawn.status();
  last_token_ = drawn->token;
  drawn_.push_back(last_token_);
  replayed_ = drawn_.size();
  counts_.AddAnswer(last_token_);
  ++generated_;
  NoteTime(now);
  if (EndsAnswer(last_token_)) return true;

  TokenEvent event;
  event.id = last_token_;
  std::string text = decoder_.Push(last_token_);
  // Stop strings are not looked for before min_tokens.
  event.text = generated_ < request_.stop.min_tokens ? stops_.Finish() + text : stops_.Push(text);
  if (request_.logprobs >= 0) {
    event.logprob = drawn->logprob;
    event.top = std::move(drawn->top);
  }
  sink_->OnToken(std::move(event));
  if (stops_.stopped()) return true;
  if (generated_ < max_tokens_) return false;
  reason_ = FinishReason::kLength;
  return true;
}

void Answer::Finish(absl::Status status, Report report, absl::Time now) {
  FinishEvent event;
  event.status = std::move(status);
  event.reason = reason_;
  if (!stops_.stopped()) {
    event.text = stops_.Push(decoder_.Finish());
    event.text += stops_.Finish();
  }
  report.cached_tokens = cached_tokens_;
  report.completion_tokens = generated_;
  report.queue = (admitted() ? admitted_ : now) - submitted_;
  report.total = now - submitted_;
  if (generated_ > 0) {
    report.ttft = first_token_ - submitted_;
    report.prefill = first_token_ - admitted_;
  }
  if (generated_ > 1) {
    report.inter_token_mean = (latest_token_ - first_token_) / (generated_ - 1);
    report.inter_token_max = longest_gap_;
  }
  event.report = std::move(report);
  sink_->OnFinish(std::move(event));
}

Report PlanReport(const ResolvedSkip& skip, const SkipLevels& levels, bool by_layer) {
  Report report;
  const SkipPlan& plan = skip.plan;
  report.prompt_tokens = plan.prompt_tokens;
  report.skip_level = skip.level;
  report.skip_reason = skip.reason;
  report.policy_fingerprint = skip.policy_fingerprint;
  if (plan.dense()) {
    report.expected_kl = 0;
    report.expected_agreement = 1;
  } else if (skip.expected.has_value()) {
    report.expected_kl = skip.expected->kl;
    report.expected_agreement = skip.expected->agreement;
  }
  report.token_layers = plan.prompt_tokens * static_cast<int64_t>(plan.layers.size());
  ResolvedSkip all = skip;
  for (LayerPlan& layer : all.plan.layers)
    layer = {plan.prompt_tokens, plan.prompt_tokens, plan.prompt_tokens};
  double flops = 0, dense_flops = 0;
  for (size_t i = 0; i < plan.layers.size(); ++i) {
    const LayerPlan& layer = plan.layers[i];
    flops += levels.Flops(skip, static_cast<int32_t>(i)).total();
    dense_flops += levels.Flops(all, static_cast<int32_t>(i)).total();
    report.kv_token_layers += layer.active;
    if (by_layer)
      report.layers.push_back({layer.candidates, layer.active, layer.active, layer.active});
  }
  report.flop_bound = dense_flops / flops;
  report.skip_ratio = 1 - flops / dense_flops;
  // Attention, FFN and cache all take the same number of rows in a layer, if not the same rows.
  report.kv_skip_ratio =
      1 - static_cast<double>(report.kv_token_layers) / static_cast<double>(report.token_layers);
  report.attention_skip_ratio = report.ffn_skip_ratio = report.kv_skip_ratio;
  return report;
}

}  // namespace skipserve
