#include "engine/skip/guard.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_format.h"

namespace skipserve {

LevelGuard::LevelGuard(const std::vector<std::string>& levels, Options options)
    : options_(options) {
  absl::MutexLock lock(&mutex_);
  for (const std::string& name : levels) levels_.emplace_back().name = name;
}

int LevelGuard::Find(const std::string& name) const {
  for (size_t i = 0; i < levels_.size(); ++i) {
    if (levels_[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

LevelFallback LevelGuard::Describe(size_t level, absl::Time now) const {
  size_t served = level + 1;  // one beyond
  while (served > 0 && now < levels_[served - 1].retry_at) --served;
  const Level& l = levels_[level];
  return {l.name, served == 0 ? "off" : levels_[served - 1].name, l.kl, options_.max_kl,
          std::max(l.retry_at - now, absl::ZeroDuration())};
}

LevelGuard::Served LevelGuard::Serve(const std::string& level, absl::Time now) const {
  absl::MutexLock lock(&mutex_);
  const int found = Find(level);
  if (found < 0 || now >= levels_[found].retry_at) return {level, ""};
  const LevelFallback fallback = Describe(found, now);
  return {fallback.served_by,
          absl::StrFormat("level %s fell back to %s: canary KL %.3g over %.3g", level,
                          fallback.served_by, fallback.kl, fallback.max_kl)};
}

std::optional<LevelChange> LevelGuard::Measured(const std::string& level, double kl,
                                                absl::Time now) {
  absl::MutexLock lock(&mutex_);
  const int found = Find(level);
  // What ran before a fallback says nothing of the time after it.
  if (found < 0 || now < levels_[found].retry_at) return std::nullopt;
  Level& l = levels_[found];
  l.kls.push_back(kl);
  if (l.kls.size() > kWindow) l.kls.pop_front();
  if (l.kls.size() < kMinimum) return std::nullopt;
  const double mean =
      std::accumulate(l.kls.begin(), l.kls.end(), 0.0) / static_cast<double>(l.kls.size());
  if (!(mean <= options_.max_kl)) {
    l.kl = mean;
    l.kls.clear();
    l.fallen = true;
    l.on_trial = false;
    l.retry_at = now + options_.hold * l.hold_factor;
    l.hold_factor = std::min(l.hold_factor * 2, kMaxHoldFactor);
    return LevelChange{LevelChange::Kind::kFellBack, Describe(found, now)};
  }
  // A few good canaries end the trial, but only a whole window of them forgets how often it failed.
  if (l.kls.size() == kWindow) l.hold_factor = 1;
  if (!l.on_trial) return std::nullopt;
  l.on_trial = false;
  l.kl = mean;
  return LevelChange{LevelChange::Kind::kRecovered, Describe(found, now)};
}

std::vector<LevelChange> LevelGuard::TakeRetries(absl::Time now) {
  absl::MutexLock lock(&mutex_);
  std::vector<LevelChange> changes;
  for (size_t i = 0; i < levels_.size(); ++i) {
    if (!levels_[i].fallen || now < levels_[i].retry_at) continue;
    levels_[i].fallen = false;
    levels_[i].on_trial = true;
    changes.push_back({LevelChange::Kind::kRetried, Describe(i, now)});
  }
  return changes;
}

std::vector<LevelFallback> LevelGuard::Fallbacks(absl::Time now) const {
  absl::MutexLock lock(&mutex_);
  std::vector<LevelFallback> fallbacks;
  for (size_t i = 0; i < levels_.size(); ++i) {
    if (now < levels_[i].retry_at) fallbacks.push_back(Describe(i, now));
  }
  return fallbacks;
}

}  // namespace skipserve
