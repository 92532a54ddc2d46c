// A policy met with one prompt: how many tokens every layer computes. All counts follow from the
// prompt's length, so a request's KV need and work are known before it runs.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/model_config.h"
#include "engine/skip/policy.h"

namespace skipserve {

struct LayerPlan {
  int64_t candidates = 0;  // |T|
  int64_t active =
      0;  // rows computed by attention, and by the FFN; equal to candidates: no probe is needed
  int64_t keep = 0;     // |T| after the layer
  bool probes = false;  // scores its candidates; else a layer that skips uses the scores before it
  bool skips() const { return active < candidates; }
};

// FLOPs of the parts of one layer of the prefill.
struct LayerFlops {
  double attention = 0;  // projections and scores
  double ffn = 0;
  double probes = 0;  // PAP's and LTP's own
  double total() const { return attention + ffn + probes; }
};

struct SkipPlan {
  int64_t prompt_tokens = 0;
  int32_t trunk_layers = 0;       // all layers: the plan is dense
  std::vector<LayerPlan> layers;  // every layer of the model
  bool dense() const { return trunk_layers == static_cast<int32_t>(layers.size()); }
};

SkipPlan DensePlan(const ModelConfig& config, int64_t prompt_tokens);

// Sizes below 1.0 become max(1, round(size * prompt_tokens)). Dense where no layer would skip
// anything.
SkipPlan MakePlan(const SkipPolicy& policy, const ModelConfig& config, int64_t prompt_tokens);

// Of the LTP proxies; zeros where there are none.
struct ProxyShape {
  int32_t d_low = 0;
  int32_t rank = 0;
};

// INVALID_ARGUMENT where the policy scores by proxies and there are none.
absl::Status CheckProxy(const SkipPolicy& policy, ProxyShape proxy);

// One layer's FLOPs under the plan. `proxy` does not matter where the score needs none.
LayerFlops PlanFlops(const SkipPlan& plan, int32_t layer, const SkipPolicy& policy,
                     const ModelConfig& config, ProxyShape proxy);

}  // namespace skipserve
