#include "engine/skip/layer_work.h"

#include <algorithm>

namespace skipserve {

SkipLayer LayerWork(const SkipPlan& plan, int32_t layer, const SkipPolicy& policy,
                    const ModelConfig& config, ProxyShape proxy) {
  const LayerPlan& l = plan.layers[layer];
  const double width = config.width, ffn = config.ffn_width, t = l.candidates;
  const double q_cols = double(config.heads) * config.head_dim,
               kv_cols = double(config.kv_heads) * config.head_dim;
  SkipLayer work;
  work.rows = l.active;
  work.attention_flops_per_row = 2 * width * (q_cols + kv_cols) + 2 * width * q_cols;
  work.attention_flops_per_pair = 4 * q_cols;
  work.ffn_flops_per_row = 6 * width * ffn;
  if (l.probes) {
    const double window = std::min<double>(policy.window, t);
    work.key_flops = 2 * t * width * kv_cols;
    work.probe_flops = 2 * window * width * (q_cols + kv_cols) + 2 * window * t * q_cols;
  } else {
    work.attention_flops_per_row += 2 * width * kv_cols;
  }
  if (!l.skips()) return work;
  if (policy.ffn_score == FfnScore::kExact) work.ffn_probe_flops = 6 * t * width * ffn;
  if (policy.ffn_score == FfnScore::kProduct) {
    work.ffn_probe_flops = t * (4.0 * width * proxy.rank + 4.0 * proxy.rank * proxy.d_low +
                                2.0 * proxy.d_low * proxy.d_low);
  }
  return work;
}

}  // namespace skipserve
