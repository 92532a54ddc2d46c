#include "engine/quality/search.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/quality/equal_flops.h"
#include "engine/skip/policy_fingerprint.h"
#include "engine/skip/ready_settings.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

// Facts are what skipping is for; the rest breaks ties, since no setting that skips much is good at
// it.
constexpr double kWholeWeight = 0.1;
constexpr double kProfileKeep = 0.12;  // of the prompt, kept by pruning once

constexpr double kShapes[] = {1.0, 0.5, 0.25};  // the last layer's budget, of the first's
constexpr double kMost = 0.98;                  // of the prompt; more is not worth a probe
constexpr double kEasier[] = {0.9, 0.8, 0.7};   // of a speed whose quality is not to be had
constexpr int kRounds = 2;

// What measurements favoured on every start: queries enough to hold a question, the maximum, and
// neighbours pooled so that a phrase stays together.
void SetProbe(SkipPolicy& policy) {
  policy.window = 32;
  policy.window_reduce = policy.head_reduce = Reduce::kMax;
  policy.pool = 15;
  policy.recent = 128;
  policy.memory = 1;
  policy.ffn_score = FfnScore::kAttention;
}

// Budgets of that shape, as large as `speedup` over dense allows; none where no budget does. A
// little faster, so that counts rounded at another length do not undo it.
std::optional<SkipPolicy> AtSpeed(SkipPolicy policy, double shape, double speedup, int64_t tokens,
                                  const ModelConfig& config) {
  const double allowed =
      PrefillFlops(DensePlan(config, tokens), SkipPolicy(), config, ProxyShape()) /
      (1.005 * speedup);
  const auto fits = [&](double first) {
    policy.budgets = policy.keeps =
        LayeredPolicy(policy.start, config.layers, first, first * shape).budgets;
    return PrefillFlops(MakePlan(policy, config, tokens), policy, config, ProxyShape()) <= allowed;
  };
  double low = 0, high = kMost;
  for (int step = 0; step < 20; ++step) {
    const double middle = (low + high) / 2;
    (fits(middle) ? low : high) = middle;
  }
  if (low == 0 || !fits(low)) return std::nullopt;
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

  // The best candidate that is at least so fast, of equals the fastest; the fastest of all where
  // none is, null without any.
  const Candidate* Best(double min_speedup) const {
    const auto rank = [&](const Candidate& c) {
      const bool fast = c.flop_bound >= min_speedup;
      return std::tuple(!fast, fast ? c.loss() : 0, -c.flop_bound);
    };
    const auto best =
        std::min_element(candidates_.begin(), candidates_.end(),
                         [&](const auto& a, const auto& b) { return rank(a) < rank(b); });
    return best == candidates_.end() ? nullptr : &*best;
  }

  // Those that no other is both as fast and as close to dense as, by speed; of speeds that differ
  // by less than a hundredth the closest to dense.
  std::vector<Candidate> Front() const {
    std::vector<Candidate> front, all = candidates_;
    std::stable_sort(all.begin(), all.end(), [](const Candidate& a, const Candidate& b) {
      return std::pair(-a.flop_bound, a.loss()) < std::pair(-b.flop_bound, b.loss());
    });
    for (Candidate& c : all) {
      if (!front.empty() && c.loss() >= front.back().loss()) continue;
      if (!front.empty() && front.back().flop_bound < 1.01 * c.flop_bound) front.pop_back();
      front.push_back(std::move(c));
    }
    std::reverse(front.begin(), front.end());
    return front;
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

// Layers worth starting at: the two that know most, of those early enough to save so much even if
// what follows them cost nothing.
std::vector<int32_t> Starts(const std::vector<double>& layer_kl, double speedup) {
  constexpr int32_t kStarts = 2;
  std::vector<int32_t> starts;
  for (int32_t layer = 1; (layer + 1) * speedup <= double(layer_kl.size()); ++layer) {
    starts.push_back(layer);
  }
  std::sort(starts.begin(), starts.end(),
            [&](int32_t a, int32_t b) { return layer_kl[a] < layer_kl[b]; });
  if (std::ssize(starts) > kStarts) starts.erase(starts.begin() + kStarts, starts.end());
  return starts;
}

int64_t Shortest(const SearchTasks& tasks) {
  size_t tokens = std::numeric_limits<size_t>::max();
  for (const std::vector<Task>* some : {&tasks.facts, &tasks.whole}) {
    for (const Task& task : *some) tokens = std::min(tokens, task.prompt.size());
  }
  return static_cast<int64_t>(tokens);
}

// One setting changed at a time, at the same speed.
std::vector<SkipPolicy> Variants(const SkipPolicy& base, double speedup, int64_t tokens,
                                 const ModelConfig& config) {
  std::vector<SkipPolicy> variants;
  const double shape = base.budgets.back() / base.budgets.front();
  const auto vary = [&](auto change, double new_shape) {
    SkipPolicy policy = base;
    change(policy);
    if (policy == base && std::abs(new_shape - shape) < 1e-6) return;
    if (auto sized = AtSpeed(std::move(policy), new_shape, speedup, tokens, config)) {
      variants.push_back(*std::move(sized));
    }
  };
  for (const int64_t recent : {64, 256}) vary([&](SkipPolicy& p) { p.recent = recent; }, shape);
  for (const int32_t window : {16, 64}) vary([&](SkipPolicy& p) { p.window = window; }, shape);
  for (const int32_t pool : {7, 15, 31}) vary([&](SkipPolicy& p) { p.pool = pool; }, shape);
  for (const double memory : {0.0, 1.0}) vary([&](SkipPolicy& p) { p.memory = memory; }, shape);
  vary([](SkipPolicy& p) { p.probe_layers.resize(1); }, shape);
  for (const double factor : {0.7, 1.4}) {
    vary([](SkipPolicy&) {}, std::min(1.0, shape * factor));
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
  Search profile(tasks.facts.empty() ? tasks : SearchTasks{tasks.facts, {}}, measurer, progress);
  std::vector<SkipPolicy> once;
  for (int32_t layer = 0; layer < config.layers; ++layer) {
    SkipPolicy policy = LayeredPolicy(layer, config.layers, kProfileKeep, kProfileKeep);
    SetProbe(policy);
    policy.probe_layers = {layer};
    once.push_back(std::move(policy));
  }
  ASSIGN_OR_RETURN(result.layer_kl, profile.Losses(once, "asking every layer"));

  // Every policy that is measured saves just what a target asks for: then only the loss is left to
  // compare.
  const int64_t tokens = Shortest(tasks);
  Search search(tasks, measurer, progress);
  std::vector<SkipPolicy> first;
  for (const LevelTarget& target : targets) {
    for (const int32_t start : Starts(result.layer_kl, target.min_speedup)) {
      SkipPolicy policy;
      policy.start = start;
      policy.stage_ends = LayeredPolicy(start, config.layers, 1, 1).stage_ends;
      SetProbe(policy);
      policy.probe_layers = ProbingLayers(result.layer_kl, start);
      for (const double shape : kShapes) {
        if (auto sized = AtSpeed(policy, shape, target.min_speedup, tokens, config)) {
          first.push_back(*std::move(sized));
        }
      }
    }
  }
  if (first.empty()) {
    return absl::InvalidArgumentError(
        "this model has too few layers to save what the targets ask for: lower --min-speedup");
  }
  RETURN_IF_ERROR(search.Measure(std::move(first), "trying starts and budgets"));
  for (int round = 1; round <= kRounds; ++round) {
    std::vector<SkipPolicy> variants;
    for (const LevelTarget& target : targets) {
      const SkipPolicy& best = search.Best(target.min_speedup)->policy;
      for (SkipPolicy& policy : Variants(best, target.min_speedup, tokens, config)) {
        variants.push_back(std::move(policy));
      }
    }
    RETURN_IF_ERROR(search.Measure(std::move(variants),
                                   absl::StrCat("refining, round ", round, " of ", kRounds)));
  }
  std::vector<SkipPolicy> easier;
  for (const LevelTarget& target : targets) {
    const Candidate& best = *search.Best(target.min_speedup);
    if (best.kl <= target.max_kl) continue;
    const double shape = best.policy.budgets.back() / best.policy.budgets.front();
    for (const double part : kEasier) {
      if (part * target.min_speedup <= 1) continue;
      if (auto sized = AtSpeed(best.policy, shape, part * target.min_speedup, tokens, config)) {
        easier.push_back(*std::move(sized));
      }
    }
  }
  RETURN_IF_ERROR(search.Measure(std::move(easier), "trying less speed"));
  for (const LevelTarget& target : targets) {
    const Candidate* found = search.Best(target.min_speedup);
    const bool met = found->flop_bound >= target.min_speedup && found->kl <= target.max_kl;
    if (!met) {  // what keeps to the quality comes before what keeps to the speed
      if (const Candidate* careful = search.Fastest(target.max_kl)) found = careful;
    }
    result.levels.push_back(*found);
    result.met.push_back(met);
  }
  result.front = search.Front();
  return result;
}

}  // namespace skipserve
