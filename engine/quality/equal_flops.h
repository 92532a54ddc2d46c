// Baselines that cost what a policy costs: what else could be had for the same FLOPs. Pure
// functions.
#pragma once

#include <cstdint>

#include "engine/model_config.h"
#include "engine/skip/plan.h"
#include "engine/skip/policy.h"

namespace skipserve {

// FLOPs of a whole prefill under the plan.
double PrefillFlops(const SkipPlan& plan, const SkipPolicy& policy, const ModelConfig& config,
                    ProxyShape proxy);

// The longest prompt, 1 .. longest tokens, whose dense prefill costs at most `flops`: what a model
// that is given only the end of a text may read.
int64_t DenseTokensFor(double flops, int64_t longest, const ModelConfig& config);

// `policy` changed to prune once: all layers before `start` are dense, layer `start` scores the
// prompt as `policy` does, and what it keeps, all layers from there on compute. As many tokens are
// kept as cost at most `flops`, at least one.
SkipPolicy PruneOnceFor(double flops, const SkipPolicy& policy, int32_t start,
                        int64_t prompt_tokens, const ModelConfig& config, ProxyShape proxy);

}  // namespace skipserve
