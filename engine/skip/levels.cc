#include "engine/skip/levels.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/skip/policy_fingerprint.h"
#include "engine/status_macros.h"

namespace skipserve {

SkipLevel WithoutProxies(SkipLevel level) {
  if (level.policy.ffn_score != FfnScore::kProduct) return level;
  level.policy.ffn_score = FfnScore::kAttention;
  level.figures = {};
  return level;
}

SkipLevels::SkipLevels(const ModelConfig& config, SkipSettings settings, ProxyShape proxy,
                       bool enabled)
    : config_(config), settings_(std::move(settings)), proxy_(proxy), enabled_(enabled) {
  if (proxy_.rank > 0) return;
  for (SkipLevel& level : settings_.levels) level = WithoutProxies(std::move(level));
}

ResolvedSkip SkipLevels::Dense(int64_t prompt_tokens, std::string reason) const {
  return {SkipPolicy(), DensePlan(config_, prompt_tokens), "off", std::move(reason)};
}

absl::StatusOr<SkipPolicy> SkipLevels::PolicyOf(const SkipRequest& request,
                                                const std::string& level) const {
  if (request.mode != SkipRequest::Mode::kPolicy) {
    if (const SkipLevel* found = settings_.Find(level)) return found->policy;
    std::vector<std::string> names = {"off"};
    for (const SkipLevel& known : settings_.levels) names.push_back(known.name);
    return absl::InvalidArgumentError(absl::StrCat(
        "unknown skip level \"", level, "\"; this model has ", absl::StrJoin(names, ", ")));
  }
  RETURN_IF_ERROR(ValidatePolicy(request.policy, config_.layers));
  RETURN_IF_ERROR(CheckProxy(request.policy, proxy_));
  return request.policy;
}

absl::StatusOr<ResolvedSkip> SkipLevels::Resolve(const SkipRequest& request,
                                                 int64_t prompt_tokens) const {
  using Mode = SkipRequest::Mode;
  std::string level = request.mode == Mode::kPolicy  ? "custom"
                      : request.mode == Mode::kLevel ? request.level
                      : request.mode == Mode::kAuto  ? settings_.default_level
                                                     : "off";
  if (level == "off") {
    return Dense(prompt_tokens,
                 request.mode == Mode::kAuto ? "skipping is not the default for this model" : "");
  }
  ASSIGN_OR_RETURN(SkipPolicy policy, PolicyOf(request, level));
  if (!enabled_) return Dense(prompt_tokens, "skipping is switched off on this server");
  if (request.mode == Mode::kAuto && prompt_tokens < settings_.min_prompt) {
    return Dense(prompt_tokens,
                 absl::StrCat("prompts under ", settings_.min_prompt, " tokens run dense"));
  }
  SkipPlan plan = MakePlan(policy, config_, prompt_tokens);
  if (plan.dense()) return Dense(prompt_tokens, "the prompt is within every layer's budget");
  ResolvedSkip skip{std::move(policy), std::move(plan), std::move(level), ""};
  skip.policy_fingerprint = PolicyFingerprint(skip.policy);
  if (request.mode != Mode::kPolicy) {
    const LengthFigures* near = settings_.Find(skip.level)->figures.Near(prompt_tokens);
    if (near != nullptr) skip.expected = *near;
  }
  return skip;
}

}  // namespace skipserve
