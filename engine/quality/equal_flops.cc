#include "engine/quality/equal_flops.h"

namespace skipserve {
namespace {

// The largest n in [1, most] with costs(n) <= flops, which grows with n; 1 where there is none.
template <typename Costs>
int64_t Largest(int64_t most, double flops, const Costs& costs) {
  int64_t low = 1, high = most;
  while (low < high) {
    const int64_t middle = low + (high - low + 1) / 2;
    if (costs(middle) <= flops) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

}  // namespace

double PrefillFlops(const SkipPlan& plan, const SkipPolicy& policy, const ModelConfig& config,
                    ProxyShape proxy) {
  double flops = 0;
  for (int32_t layer = 0; layer < config.layers; ++layer) {
    flops += PlanFlops(plan, layer, policy, config, proxy).total();
  }
  return flops;
}

int64_t DenseTokensFor(double flops, int64_t longest, const ModelConfig& config) {
  return Largest(longest, flops, [&](int64_t tokens) {
    return PrefillFlops(DensePlan(config, tokens), SkipPolicy(), config, ProxyShape());
  });
}

SkipPolicy PruneOnceFor(double flops, const SkipPolicy& policy, int32_t start,
                        int64_t prompt_tokens, const ModelConfig& config, ProxyShape proxy) {
  SkipPolicy once = policy;
  once.start = start;
  once.stage_ends = {start};
  once.probe_layers.clear();  // it may be that none of them is `start`
  const int64_t kept = Largest(prompt_tokens, flops, [&](int64_t tokens) {
    once.budgets = once.keeps = {double(tokens)};
    return PrefillFlops(MakePlan(once, config, prompt_tokens), once, config, proxy);
  });
  once.budgets = once.keeps = {double(kept)};
  return once;
}

}  // namespace skipserve
