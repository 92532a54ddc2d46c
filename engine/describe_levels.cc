#include "engine/describe_levels.h"

#include "engine/answer.h"
#include "engine/skip/policy_fingerprint.h"

namespace skipserve {
namespace {

constexpr int64_t kShortest = 1024;

std::vector<int64_t> Lengths(int64_t max_context) {
  std::vector<int64_t> lengths;
  for (int64_t n = kShortest; n < max_context; n *= 2) lengths.push_back(n);
  lengths.push_back(max_context);
  return lengths;
}

}  // namespace

std::vector<SkipLevelInfo> DescribeLevels(const SkipLevels& levels, const ModelConfig& config,
                                          int64_t max_context) {
  std::vector<SkipLevelInfo> infos;
  for (const SkipLevel& level : levels.settings().levels) {
    SkipLevelInfo& info = infos.emplace_back();
    info.name = level.name;
    info.policy = level.policy;
    info.policy_fingerprint = PolicyFingerprint(level.policy);
    info.figures = level.figures;
    for (const int64_t length : Lengths(max_context)) {
      // Not by Resolve: the arithmetic holds also where skipping is switched off.
      const ResolvedSkip skip{level.policy, MakePlan(level.policy, config, length), level.name, ""};
      const Report report = PlanReport(skip, levels, /*by_layer=*/false);
      info.bounds.push_back({length, report.flop_bound, 1 - report.kv_skip_ratio});
    }
  }
  return infos;
}

}  // namespace skipserve
