#include "engine/quality/search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/skip/policy_fingerprint.h"
#include "engine/skip/ready_settings.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

// Facts are what skipping is for; the rest breaks ties, since no setting that skips much is good at
// it.
constexpr double kWholeWeight = 0.1;
constexpr double kProfileKeep = 0.12;  // of the prompt, kept by pruning once

constexpr double kFirst[] = {0.3, 0.5, 0.8};
constexpr double kLast[] = {0.06, 0.12, 0.25};
constexpr int kRounds = 2;

// What measurements favoured on every start: queries enough to hold a question, the maximum, and
// neighbours pooled so that a phrase stays together.
void SetProbe(SkipPolicy& policy) {
  policy.window = 32;
  policy.window_reduce = policy.head_reduce = Reduce::kMax;
  policy.pool = 15;
  policy.recent = 128;
  policy.ffn_score = FfnScore::kAttention;
}

SkipPolicy Layered(int32_t start, double first, double last, const std::vector<double>& layer_kl) {
  const int32_t layers = static_cast<int32_t>(layer_kl.size());
  SkipPolicy policy = LayeredPolicy(start, layers, first, last);
  SetProbe(policy);
  policy.probe_layers = ProbingLayers(layer_kl, start);
  return policy;
}

double KlPerToken(absl::Span<const Outcome> outcomes) {
  double kl = 0, tokens = 0;
  for (const Outcome& o : outcomes) {
    kl += o.kl;
    tokens += double(o.answer_tokens);
  }
  return tokens == 0 ? 0 : kl / tokens;
}

class Search {
 public:
  Search(const SearchTasks& tasks, Measurer& measurer, const Progress& progress)
      : tasks_(tasks.facts), facts_(tasks.facts.size()), measurer_(measurer), progress_(progress) {
    tasks_.insert(tasks_.end(), tasks.whole.begin(), tasks.whole.end());
  }

  absl::Status Measure(std::vector<SkipPolicy> policies, absl::string_view stage) {
    std::erase_if(policies, [&](const SkipPolicy& p) {
      return !seen_.emplace(PolicyFingerprint(p), candidates_.size()).second;
    });
    ASSIGN_OR_RETURN(const auto outcomes, measurer_.Measure(tasks_, policies, stage, progress_));
    for (size_t i = 0; i < policies.size(); ++i) {
      Candidate c;
      c.policy = policies[i];
      const auto all = absl::MakeConstSpan(outcomes[i]);
      c.whole_kl = KlPerToken(all.subspan(facts_));
      c.kl = facts_ > 0 ? KlPerToken(all.first(facts_)) : c.whole_kl;
      c.flop_bound = std::numeric_limits<double>::infinity();
      for (const Outcome& o : all) c.flop_bound = std::min(c.flop_bound, o.flop_bound);
      seen_[PolicyFingerprint(c.policy)] = candidates_.size();
      candidates_.push_back(std::move(c));
    }
    return absl::OkStatus();
  }

  // The loss of each policy.
  absl::StatusOr<std::vector<double>> Losses(const std::vector<SkipPolicy>& policies,
                                             absl::string_view stage) {
    RETURN_IF_ERROR(Measure(policies, stage));
    std::vector<double> losses;
    for (const SkipPolicy& p : policies) {
      losses.push_back(candidates_[seen_.at(PolicyFingerprint(p))].loss());
    }
    return losses;
  }

  // The best candidates that are at least so fast; the fastest of all where none is.
  std::vector<Candidate> Best(double min_speedup, size_t count) const {
    std::vector<Candidate> fast;
    for (const Candidate& c : candidates_) {
      if (c.flop_bound >= min_speedup) fast.push_back(c);
    }
    if (fast.empty()) {
      fast = candidates_;
      std::sort(fast.begin(), fast.end(),
                [](const auto& a, const auto& b) { return a.flop_bound > b.flop_bound; });
    } else {
      std::sort(fast.begin(), fast.end(),
                [](const auto& a, const auto& b) { return a.loss() < b.loss(); });
    }
    fast.resize(std::min(count, fast.size()));
    return fast;
  }

  // The fastest candidate that is no further from dense than `max_kl`; null where none is.
  const Candidate* Fastest(double max_kl) const {
    const Candidate* best = nullptr;
    for (const Candidate& c : candidates_) {
      if (c.kl <= max_kl && (!best || c.flop_bound > best->flop_bound)) best = &c;
    }
    return best;
  }

 private:
  std::vector<Task> tasks_;
  const size_t facts_;
  Measurer& measurer_;
  const Progress& progress_;
  std::vector<Candidate> candidates_;
  std::map<std::string, size_t> seen_;  // index of candidates_, by fingerprint
};

// Layers worth starting at: for each target the two that know most, of those early enough to save
// so much even if what follows them cost nothing.
std::vector<int32_t> Starts(const std::vector<double>& layer_kl,
                            const std::vector<LevelTarget>& targets) {
  constexpr size_t kPerTarget = 2;
  std::set<int32_t> starts;
  for (const LevelTarget& target : targets) {
    const auto layers = static_cast<double>(layer_kl.size());
    std::vector<int32_t> early;
    for (int32_t layer = 1; (layer + 1) * target.min_speedup <= layers; ++layer) {
      early.push_back(layer);
    }
    std::sort(early.begin(), early.end(),
              [&](int32_t a, int32_t b) { return layer_kl[a] < layer_kl[b]; });
    for (size_t i = 0; i < std::min(early.size(), kPerTarget); ++i) starts.insert(early[i]);
  }
  return std::vector<int32_t>(starts.begin(), starts.end());
}

// One setting changed at a time.
std::vector<SkipPolicy> Variants(const SkipPolicy& base, const std::vector<double>& layer_kl) {
  std::vector<SkipPolicy> variants;
  const auto vary = [&](auto change) {
    SkipPolicy policy = base;
    change(policy);
    if (!(policy == base)) variants.push_back(std::move(policy));
  };
  for (const int64_t recent : {32, 128, 256}) vary([&](SkipPolicy& p) { p.recent = recent; });
  for (const int32_t window : {16, 32, 64}) vary([&](SkipPolicy& p) { p.window = window; });
  for (const int32_t pool : {7, 15, 31}) vary([&](SkipPolicy& p) { p.pool = pool; });
  for (const double memory : {0.0, 1.0}) vary([&](SkipPolicy& p) { p.memory = memory; });
  vary([](SkipPolicy& p) { p.probe_layers.resize(1); });
  const double first = base.budgets.front(), last = base.budgets.back();
  for (const double f : {0.75, 1.0, 1.3}) {
    for (const double l : {0.6, 1.0, 1.6}) {
      vary([&](SkipPolicy& p) {
        const double from = std::min(first * f, 0.95);
        p.budgets = p.keeps = LayeredPolicy(p.start, static_cast<int32_t>(layer_kl.size()), from,
                                            std::min(last * l, from))
                                  .budgets;
      });
    }
  }
  return variants;
}

}  // namespace

double Candidate::loss() const { return kl + kWholeWeight * whole_kl; }

std::vector<int32_t> ProbingLayers(const std::vector<double>& layer_kl, int32_t start) {
  std::vector<int32_t> layers = {start};
  double best = layer_kl[start];
  for (int32_t layer = start + 1; layer < static_cast<int32_t>(layer_kl.size()); ++layer) {
    if (layer_kl[layer] > best) continue;
    best = layer_kl[layer];
    layers.push_back(layer);
  }
  return layers;
}

absl::StatusOr<SearchTasks> MakeSearchTasks(const TaskMaker& maker, Measurer& measurer,
                                            int64_t tokens, int64_t facts, uint64_t seed,
                                            const Progress& progress) {
  const TaskOptions options{seed, /*held_out=*/false};
  std::vector<Task> asked;
  for (int64_t index = 0; index < 2 * facts; ++index) {
    ASSIGN_OR_RETURN(Task task, maker.Make("fact", tokens, index, options));
    asked.push_back(std::move(task));
  }
  ASSIGN_OR_RETURN(const std::vector<Outcome> dense,
                   measurer.MeasureDense(asked, "asking the dense model", progress));
  SearchTasks tasks;
  for (size_t i = 0; i < asked.size() && static_cast<int64_t>(tasks.facts.size()) < facts; ++i) {
    if (dense[i].score == 1) tasks.facts.push_back(std::move(asked[i]));
  }
  for (const char* family : {"summary", "real_question"}) {
    for (int64_t index = 0; index < std::max<int64_t>(1, facts / 4); ++index) {
      ASSIGN_OR_RETURN(Task task, maker.Make(family, tokens, index, options));
      tasks.whole.push_back(std::move(task));
    }
  }
  return tasks;
}

absl::StatusOr<SearchResult> SearchPolicies(const SearchTasks& tasks,
                                            const std::vector<LevelTarget>& targets,
                                            const ModelConfig& config, Measurer& measurer,
                                            const Progress& progress) {
  SearchResult result;
  // How a layer takes it when all that follows computes what this layer chose: one number a layer.
  Search profile(tasks, measurer, progress);
  std::vector<SkipPolicy> once;
  for (int32_t layer = 0; layer < config.layers; ++layer) {
    SkipPolicy policy = LayeredPolicy(layer, config.layers, kProfileKeep, kProfileKeep);
    SetProbe(policy);
    policy.probe_layers = {layer};
    once.push_back(std::move(policy));
  }
  ASSIGN_OR_RETURN(result.layer_kl, profile.Losses(once, "asking every layer"));

  Search search(tasks, measurer, progress);
  std::vector<SkipPolicy> grid;
  for (const int32_t start : Starts(result.layer_kl, targets)) {
    for (const double first : kFirst) {
      for (const double last : kLast) {
        grid.push_back(Layered(start, first, std::min(last, first), result.layer_kl));
      }
    }
  }
  if (grid.empty()) {
    return absl::InvalidArgumentError(
        "this model has too few layers to save what the targets ask for: lower --min-speedup");
  }
  RETURN_IF_ERROR(search.Measure(std::move(grid), "trying starts and budgets"));
  for (int round = 1; round <= kRounds; ++round) {
    std::vector<SkipPolicy> variants;
    for (const LevelTarget& target : targets) {
      for (const Candidate& c : search.Best(target.min_speedup, 1)) {
        for (SkipPolicy& policy : Variants(c.policy, result.layer_kl)) {
          variants.push_back(std::move(policy));
        }
      }
    }
    RETURN_IF_ERROR(search.Measure(std::move(variants),
                                   absl::StrCat("refining, round ", round, " of ", kRounds)));
  }
  for (const LevelTarget& target : targets) {
    const std::vector<Candidate> best = search.Best(target.min_speedup, 1);
    const Candidate* found = best.empty() ? nullptr : &best.front();
    bool met = found && found->flop_bound >= target.min_speedup && found->kl <= target.max_kl;
    if (!met) {  // what keeps to the quality comes before what keeps to the speed
      if (const Candidate* careful = search.Fastest(target.max_kl)) found = careful;
    }
    if (!found) return absl::InternalError("the search measured nothing");
    result.levels.push_back(*found);
    result.met.push_back(met);
  }
  return result;
}

}  // namespace skipserve
