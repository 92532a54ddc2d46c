#include "server/openai_report.h"

#include <utility>

#include "absl/time/time.h"

namespace skipserve {

OrderedJson UsageJson(absl::Span<const Report> reports, int per_prompt) {
  int64_t prompt = 0;
  int64_t cached = 0;
  int64_t completion = 0;
  for (size_t i = 0; i < reports.size(); ++i) {
    completion += reports[i].completion_tokens;
    if (i % static_cast<size_t>(per_prompt) != 0) continue;
    prompt += reports[i].prompt_tokens;
    cached += reports[i].cached_tokens;
  }
  return {{"prompt_tokens", prompt},
          {"completion_tokens", completion},
          {"total_tokens", prompt + completion},
          {"prompt_tokens_details", {{"cached_tokens", cached}}}};
}

OrderedJson SkipJson(const Report& report) {
  OrderedJson json = {{"level", report.skip_level}};
  if (!report.skip_reason.empty()) json["reason"] = report.skip_reason;
  if (!report.policy_fingerprint.empty()) json["policy_fingerprint"] = report.policy_fingerprint;
  if (report.expected_kl.has_value()) json["expected_kl"] = *report.expected_kl;
  if (report.expected_agreement.has_value()) {
    json["expected_agreement"] = *report.expected_agreement;
  }
  json["skip_ratio"] = report.skip_ratio;
  json["attention_skip_ratio"] = report.attention_skip_ratio;
  json["ffn_skip_ratio"] = report.ffn_skip_ratio;
  json["kv_skip_ratio"] = report.kv_skip_ratio;
  json["flop_bound"] = report.flop_bound;
  json["kv_token_layers"] = report.kv_token_layers;
  json["token_layers"] = report.token_layers;
  if (!report.layers.empty()) {
    OrderedJson layers = OrderedJson::array();
    for (const LayerCounts& layer : report.layers) {
      layers.push_back({{"candidates", layer.candidates},
                        {"attention", layer.attention},
                        {"ffn", layer.ffn},
                        {"kv", layer.kv}});
    }
    json["layers"] = std::move(layers);
  }
  if (!report.rows.empty()) {
    OrderedJson rows = OrderedJson::array();
    for (const LayerRows& layer : report.rows) {
      rows.push_back({{"attention", layer.attention}, {"ffn", layer.ffn}});
    }
    json["rows"] = std::move(rows);
  }
  return json;
}

OrderedJson TimingsJson(const Report& report) {
  return {{"queue_seconds", absl::ToDoubleSeconds(report.queue)},
          {"prefill_seconds", absl::ToDoubleSeconds(report.prefill)},
          {"trunk_seconds", absl::ToDoubleSeconds(report.trunk)},
          {"skipping_seconds", absl::ToDoubleSeconds(report.skipping)},
          {"ttft_seconds", absl::ToDoubleSeconds(report.ttft)},
          {"inter_token_mean_seconds", absl::ToDoubleSeconds(report.inter_token_mean)},
          {"inter_token_max_seconds", absl::ToDoubleSeconds(report.inter_token_max)},
          {"total_seconds", absl::ToDoubleSeconds(report.total)}};
}

}  // namespace skipserve
