// From what a request asks of skipping to the plan it runs with. Immutable and thread-safe.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "engine/model_config.h"
#include "engine/request.h"
#include "engine/skip/layer_work.h"
#include "engine/skip/plan.h"
#include "engine/skip/skip_settings.h"

namespace skipserve {

struct ResolvedSkip {
  SkipPolicy policy;  // meaningless where the plan is dense
  SkipPlan plan;
  std::string level;                           // "off", a level's name, or "custom"
  std::string reason;                          // why it is dense although skipping was asked for
  std::string policy_fingerprint = "";         // of `policy`; empty where the plan is dense
  std::optional<LengthFigures> expected = {};  // the level's, near the prompt's length
};

// The level for a model without FFN proxies: one that scores by product scores by attention
// instead, and loses the figures of what it was.
SkipLevel WithoutProxies(SkipLevel level);

class SkipLevels {
 public:
  // `proxy`: the model's FFN proxies; zeros where there are none, and then levels are as
  // WithoutProxies makes them. `enabled` false: everything is dense.
  SkipLevels(const ModelConfig& config, SkipSettings settings, ProxyShape proxy, bool enabled);

  // INVALID_ARGUMENT for an unknown level (the message lists them) or a policy the model cannot
  // have.
  absl::StatusOr<ResolvedSkip> Resolve(const SkipRequest& request, int64_t prompt_tokens) const;

  // Everything computed, and why although skipping was asked for.
  ResolvedSkip Dense(int64_t prompt_tokens, std::string reason) const;

  // FLOPs of one layer of a resolved prefill.
  LayerFlops Flops(const ResolvedSkip& skip, int32_t layer) const {
    return PlanFlops(skip.plan, layer, skip.policy, config_, proxy_);
  }

  SkipLayer Work(const ResolvedSkip& skip, int32_t layer) const {
    return LayerWork(skip.plan, layer, skip.policy, config_, proxy_);
  }

  const SkipSettings& settings() const { return settings_; }

 private:
  absl::StatusOr<SkipPolicy> PolicyOf(const SkipRequest& request, const std::string& level) const;

  ModelConfig config_;
  SkipSettings settings_;
  ProxyShape proxy_;
  bool enabled_;
};

}  // namespace skipserve
