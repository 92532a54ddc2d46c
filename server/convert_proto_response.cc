// To the wire; see convert_proto.h.
#include "server/convert_proto.h"

namespace skipserve {
namespace {

void SkipToProto(const Report& report, v1::SkipReport* proto) {
  proto->set_level(report.skip_level);
  proto->set_reason(report.skip_reason);
  proto->set_skip_ratio(report.skip_ratio);
  proto->set_attention_skip_ratio(report.attention_skip_ratio);
  proto->set_ffn_skip_ratio(report.ffn_skip_ratio);
  proto->set_kv_skip_ratio(report.kv_skip_ratio);
  proto->set_flop_bound(report.flop_bound);
  proto->set_kv_token_layers(report.kv_token_layers);
  proto->set_token_layers(report.token_layers);
  proto->set_policy_fingerprint(report.policy_fingerprint);
  if (report.expected_kl.has_value()) proto->set_expected_kl(*report.expected_kl);
  if (report.expected_agreement.has_value()) {
    proto->set_expected_agreement(*report.expected_agreement);
  }
  for (const LayerCounts& layer : report.layers) {
    v1::LayerCounts* out = proto->add_layers();
    out->set_candidates(layer.candidates);
    out->set_attention(layer.attention);
    out->set_ffn(layer.ffn);
    out->set_kv(layer.kv);
  }
  for (const LayerRows& rows : report.rows) {
    v1::LayerRows* out = proto->add_rows();
    out->mutable_attention()->Assign(rows.attention.begin(), rows.attention.end());
    out->mutable_ffn()->Assign(rows.ffn.begin(), rows.ffn.end());
  }
}

void FiguresToProto(const LevelFigures& figures, v1::LevelFigures* proto) {
  for (const LengthFigures& length : figures.lengths) {
    v1::LengthFigures* out = proto->add_lengths();
    out->set_prompt_tokens(length.prompt_tokens);
    out->set_cases(length.cases);
    out->set_flop_bound(length.flop_bound);
    out->set_kl(length.kl);
    out->set_agreement(length.agreement);
    out->set_facts_found(length.facts_found);
    out->set_facts_asked(length.facts_asked);
  }
  for (const std::string& task : figures.weak_tasks) proto->add_weak_tasks(task);
  proto->set_measured_on(figures.measured_on);
}

void LevelToProto(const SkipLevelInfo& level, v1::SkipLevel* proto) {
  proto->set_name(level.name);
  PolicyToProto(level.policy, proto->mutable_policy());
  proto->set_policy_fingerprint(level.policy_fingerprint);
  for (const LevelBound& bound : level.bounds) {
    v1::LevelBound* out = proto->add_bounds();
    out->set_prompt_tokens(bound.prompt_tokens);
    out->set_flop_bound(bound.flop_bound);
    out->set_kv_share(bound.kv_share);
  }
  if (level.figures.measured()) FiguresToProto(level.figures, proto->mutable_figures());
}

void TimingsToProto(const Report& report, v1::Timings* proto) {
  proto->set_queue_seconds(absl::ToDoubleSeconds(report.queue));
  proto->set_trunk_seconds(absl::ToDoubleSeconds(report.trunk));
  proto->set_skipping_seconds(absl::ToDoubleSeconds(report.skipping));
  proto->set_prefill_seconds(absl::ToDoubleSeconds(report.prefill));
  proto->set_ttft_seconds(absl::ToDoubleSeconds(report.ttft));
  proto->set_inter_token_mean_seconds(absl::ToDoubleSeconds(report.inter_token_mean));
  proto->set_inter_token_max_seconds(absl::ToDoubleSeconds(report.inter_token_max));
  proto->set_total_seconds(absl::ToDoubleSeconds(report.total));
}

}  // namespace

void AppendToken(TokenEvent event, v1::TokenChunk* chunk) {
  chunk->mutable_text()->append(event.text);
  chunk->add_token_ids(event.id);
  if (!event.logprob.has_value()) return;
  v1::TokenLogprobs* logprobs = chunk->add_logprobs();
  logprobs->set_logprob(*event.logprob);
  for (const TokenLogprob& top : event.top) {
    v1::TokenLogprob* out = logprobs->add_top();
    out->set_id(top.id);
    out->set_logprob(top.logprob);
  }
}

void FinishToProto(const FinishEvent& event, v1::Finish* proto) {
  proto->set_text(event.text);
  proto->set_reason(event.reason == FinishReason::kStop ? v1::Finish::REASON_STOP
                                                        : v1::Finish::REASON_LENGTH);
  proto->mutable_usage()->set_prompt_tokens(event.report.prompt_tokens);
  proto->mutable_usage()->set_cached_tokens(event.report.cached_tokens);
  proto->mutable_usage()->set_completion_tokens(event.report.completion_tokens);
  SkipToProto(event.report, proto->mutable_skip());
  TimingsToProto(event.report, proto->mutable_timings());
}

void ModelInfoToProto(const ModelInfo& info, v1::GetModelInfoResponse* proto) {
  proto->set_name(info.config.name);
  proto->set_architecture(info.config.architecture);
  proto->set_fingerprint(info.fingerprint);
  proto->set_dtype(info.dtype);
  proto->set_kv_dtype(info.kv_dtype);
  proto->set_backend(info.backend);
  proto->set_layers(info.config.layers);
  proto->set_width(info.config.width);
  proto->set_heads(info.config.heads);
  proto->set_kv_heads(info.config.kv_heads);
  proto->set_vocab_size(info.config.vocab_size);
  proto->set_max_context(info.max_context);
  proto->set_default_max_tokens(info.default_max_tokens);
  proto->set_skip_min_prompt(info.skip_min_prompt);
  proto->set_default_skip_level(info.default_skip_level);
  for (const SkipLevelInfo& level : info.skip_levels) {
    LevelToProto(level, proto->add_skip_levels());
  }
}

void PrefixToProto(const PrefixInfo& info, v1::Prefix* proto) {
  proto->set_name(info.name);
  proto->set_tokens(info.tokens);
  proto->set_kv_blocks(info.kv_blocks);
  proto->set_trunk_layers(info.trunk_layers);
  proto->set_skip_level(info.skip_level);
  proto->set_created(absl::ToUnixSeconds(info.read_at));
}

void LoadToProto(const EngineLoad& load, v1::GetLoadResponse* proto) {
  proto->set_waiting(load.waiting);
  proto->set_prefilling(load.prefilling);
  proto->set_decoding(load.decoding);
  proto->set_kv_blocks_used(load.kv_blocks_used);
  proto->set_kv_blocks_reserved(load.kv_blocks_reserved);
  proto->set_kv_blocks_total(load.kv_blocks_total);
  proto->set_kv_blocks_cached(load.kv_blocks_cached);
  proto->set_prefix_tokens(load.prefix_tokens);
  proto->set_prefix_evictions(load.prefix_evictions);
  proto->set_prefixes(load.prefixes);
  for (const int64_t blocks : load.kv_blocks_by_layer) proto->add_kv_blocks_by_layer(blocks);
  proto->set_draining(load.draining);
  for (const LevelFallback& fallback : load.fallbacks) {
    v1::LevelFallback* out = proto->add_level_fallbacks();
    out->set_level(fallback.level);
    out->set_served_by(fallback.served_by);
    out->set_canary_kl(fallback.kl);
    out->set_canary_max_kl(fallback.max_kl);
    out->set_retry_in_seconds(absl::ToDoubleSeconds(fallback.retry_in));
  }
}

}  // namespace skipserve
