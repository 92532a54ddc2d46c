#include "engine/skip/plan.h"

#include <algorithm>

#include "engine/skip/layer_work.h"

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
  const SkipLayer work = LayerWork(plan, layer, policy, config, proxy);
  const double m = static_cast<double>(work.rows);
  LayerFlops flops;
  flops.attention = work.key_flops + m * work.attention_flops_per_row +
                    m * (m + 1) / 2 * work.attention_flops_per_pair;
  flops.ffn = m * work.ffn_flops_per_row;
  flops.probes = work.probe_flops + work.ffn_probe_flops;
  return flops;
}

}  // namespace skipserve
