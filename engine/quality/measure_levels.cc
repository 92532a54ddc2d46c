// The figures that a level shows: facts by length, and where else it is weak.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/quality/find_levels.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

// A level is weak at a family of tasks where it finds less than this share of what dense does, or,
// where nothing is to be found, is so many nats per token from it.
constexpr double kWeakShare = 0.8;
constexpr double kWeakKl = 0.25;
constexpr int64_t kFamilyCases = 4;

struct Sums {
  double flops = 0, dense_flops = 0, kl = 0;
  int64_t tokens = 0, agreed = 0, asked = 0, found = 0;
};

// Over the tasks whose answers dense finds, or that have none; over all of them where it finds
// nothing: then there is no better measure.
Sums AddUp(absl::Span<const Task> tasks, absl::Span<const Outcome> dense,
           absl::Span<const Outcome> level) {
  const auto good = [&](size_t i) { return tasks[i].answers.empty() || dense[i].score == 1; };
  bool any = false;
  for (size_t i = 0; i < tasks.size(); ++i) any |= good(i);
  Sums s;
  for (size_t i = 0; i < tasks.size(); ++i) {
    s.flops += level[i].flops;
    s.dense_flops += dense[i].flops;
    if (any && !good(i)) continue;
    const bool fact = any && !tasks[i].answers.empty();
    s.asked += fact;
    s.found += fact && level[i].score == 1;
    s.kl += level[i].kl;
    s.tokens += level[i].answer_tokens;
    s.agreed += level[i].agreed;
  }
  return s;
}

absl::StatusOr<std::vector<Task>> MakeTasks(const TaskMaker& maker, absl::string_view family,
                                            int64_t tokens, int64_t cases, uint64_t seed) {
  std::vector<Task> tasks;
  for (int64_t index = 0; index < cases; ++index) {
    ASSIGN_OR_RETURN(Task task, maker.Make(family, tokens, index, {seed, /*held_out=*/true}));
    tasks.push_back(std::move(task));
  }
  return tasks;
}

bool Weak(const Sums& s) {
  if (s.asked > 0) return double(s.found) < kWeakShare * double(s.asked);
  return s.tokens > 0 && s.kl / double(s.tokens) > kWeakKl;
}

}  // namespace

absl::Status MeasureLevels(const TaskMaker& maker, Measurer& measurer,
                           const std::vector<int64_t>& lengths, int64_t cases, uint64_t seed,
                           const std::string& measured_on, const Progress& progress,
                           std::vector<SkipLevel>& levels) {
  std::vector<SkipPolicy> policies;
  for (SkipLevel& level : levels) {
    policies.push_back(level.policy);
    level.figures = {};
    level.figures.measured_on = measured_on;
  }
  for (const int64_t tokens : lengths) {
    ASSIGN_OR_RETURN(const std::vector<Task> tasks, MakeTasks(maker, "fact", tokens, cases, seed));
    const std::string stage =
        absl::StrCat("measuring levels on held-out facts of ", tokens, " tokens");
    ASSIGN_OR_RETURN(const auto outcomes, measurer.Measure(tasks, policies, stage, progress));
    ASSIGN_OR_RETURN(const auto dense, measurer.MeasureDense(tasks, stage, progress));
    for (size_t i = 0; i < levels.size(); ++i) {
      const Sums s = AddUp(tasks, dense, outcomes[i]);
      levels[i].figures.lengths.push_back({tokens, cases, s.dense_flops / s.flops,
                                           s.kl / double(s.tokens),
                                           double(s.agreed) / double(s.tokens), s.found, s.asked});
    }
  }
  for (const absl::string_view family : TaskFamilies()) {
    if (family == "fact") continue;
    absl::StatusOr<std::vector<Task>> tasks =
        MakeTasks(maker, family, lengths.front(), kFamilyCases, seed);
    if (!tasks.ok()) continue;  // these texts have nothing of this kind
    const std::string stage = absl::StrCat("looking for weak spots: ", family);
    ASSIGN_OR_RETURN(const auto outcomes, measurer.Measure(*tasks, policies, stage, progress));
    ASSIGN_OR_RETURN(const auto dense, measurer.MeasureDense(*tasks, stage, progress));
    for (size_t i = 0; i < levels.size(); ++i) {
      if (Weak(AddUp(*tasks, dense, outcomes[i]))) {
        levels[i].figures.weak_tasks.emplace_back(family);
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace skipserve
