#include "engine/skip/plan.h"

#include <algorithm>

namespace skipserve {
namespace {

// Which layers score their candidates: no more than the layers that skip have use for.
void PlanProbes(const SkipPolicy& policy, SkipPlan& plan) {
  const auto chosen = [&](int32_t layer) {
    return policy.probe_layers.empty() ||
           std::binary_search(policy.probe_layers.begin(), policy.probe_layers.end(), layer);
  };
  bool needed = false;  // by this layer, or by one behind it that has no newer scores
  for (int32_t i = static_cast<int32_t>(plan.layers.size()) - 1; i >= policy.start; --i) {
    LayerPlan& layer = plan.layers[i];
    needed |= layer.skips();
    layer.probes = needed && chosen(i) && (layer.skips() || !policy.probe_layers.empty());
    if (layer.probes) needed = policy.memory > 0;
  }
}

}  // namespace

absl::Status CheckProxy(const SkipPolicy& policy, ProxyShape proxy) {
  if (policy.ffn_score != FfnScore::kProduct || proxy.rank > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "ffn_score \"product\" needs the model's FFN proxies: build them with 'skipserve "
      "calibrate', or use \"attention\"");
}

SkipPlan DensePlan(const ModelConfig& config, int64_t prompt_tokens) {
  SkipPlan plan;
  plan.prompt_tokens = prompt_tokens;
  plan.trunk_layers = config.layers;
  plan.layers.assign(config.layers, LayerPlan{prompt_tokens, prompt_tokens, prompt_tokens});
  return plan;
}

SkipPlan MakePlan(const SkipPolicy& policy, const ModelConfig& config, int64_t prompt_tokens) {
  SkipPlan plan = DensePlan(config, prompt_tokens);
  int64_t candidates = prompt_tokens;
  size_t stage = 0;
  bool any_skips = false;
  for (int32_t i = policy.start; i < config.layers; ++i) {
    while (stage < policy.stage_ends.size() && policy.stage_ends[stage] < i) ++stage;
    const bool last = stage == policy.stage_ends.size();
    const int64_t budget =
        ResolveSize(last ? policy.keeps.back() : policy.budgets[stage], prompt_tokens);
    LayerPlan& layer = plan.layers[i];
    layer = {candidates, std::min(candidates, budget), candidates};
    if (layer.skips() && !last && policy.stage_ends[stage] == i) {
      layer.keep = std::min(candidates, ResolveSize(policy.keeps[stage], prompt_tokens));
    }
    any_skips |= layer.skips();
    candidates = layer.keep;
  }
  if (any_skips) plan.trunk_layers = policy.start;
  PlanProbes(policy, plan);
  return plan;
}

LayerFlops PlanFlops(const SkipPlan& plan, int32_t layer, const SkipPolicy& policy,
                     const ModelConfig& config, ProxyShape proxy) {
  const LayerPlan& l = plan.layers[layer];
  const double width = config.width, ffn = config.ffn_width;
  const double q_cols = double(config.heads) * config.head_dim,
               kv_cols = double(config.kv_heads) * config.head_dim;
  const double t = l.candidates, m = l.active;
  LayerFlops flops;
  flops.attention = 2 * (l.probes ? t : m) * width * kv_cols  // K of what is scored or active
                    + 2 * m * width * (q_cols + kv_cols)      // Q and V
                    + 2 * m * width * q_cols                  // output projection
                    + 4 * q_cols * m * (m + 1) / 2;           // causal scores and values
  flops.ffn = 6 * m * width * ffn;
  if (l.probes) {
    const double window = std::min<double>(policy.window, t);
    flops.probes = 2 * window * width * (q_cols + kv_cols) + 2 * window * t * q_cols;
  }
  if (!l.skips()) return flops;
  if (policy.ffn_score == FfnScore::kExact) flops.probes += 6 * t * width * ffn;
  if (policy.ffn_score == FfnScore::kProduct) {
    flops.probes += t * (4.0 * width * proxy.rank + 4.0 * proxy.rank * proxy.d_low +
                         2.0 * proxy.d_low * proxy.d_low);
  }
  return flops;
}

}  // namespace skipserve
