// Finds skip settings for a model by measuring: which layers know what the question wants, then how
// much may be dropped behind them. Works on calibration tasks alone; what it found is to be
// measured on others. One thread at a time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/model_config.h"
#include "engine/quality/measurer.h"
#include "engine/quality/tasks.h"
#include "engine/skip/plan.h"
#include "engine/skip/policy.h"

namespace skipserve {

// What a level is to be: at least so fast, by the FLOP bound on the search's tasks, and at most so
// far from dense, in nats per answer token.
struct LevelTarget {
  std::string name;
  double min_speedup = 1;
  double max_kl = 0;
};

struct Candidate {
  SkipPolicy policy;
  double flop_bound = 1;  // the least of the tasks'
  double kl = 0;          // nats per token along the dense answers that hold the fact
  double whole_kl = 0;    // the same for tasks about the whole text
  double loss() const;    // what the search minimises
};

struct SearchResult {
  std::vector<double> layer_kl;   // of pruning once at each layer, nats per token
  std::vector<Candidate> levels;  // by target, the best found: see `met`
  std::vector<bool> met;          // by target
  std::vector<Candidate> front;   // by speed: nothing measured was both faster and closer to dense
};

// The tasks of a search: facts that the model answers, and some about the whole text.
struct SearchTasks {
  std::vector<Task> facts;
  std::vector<Task> whole;
};

// Makes them from the calibration split: up to `facts` facts that the dense model answers, of
// `tokens` tokens. Where it answers none, `facts` are empty and all that counts is the rest.
absl::StatusOr<SearchTasks> MakeSearchTasks(const TaskMaker& maker, Measurer& measurer,
                                            int64_t tokens, int64_t facts, uint64_t seed,
                                            const Progress& progress);

absl::StatusOr<SearchResult> SearchPolicies(const SearchTasks& tasks,
                                            const std::vector<LevelTarget>& targets,
                                            const ModelConfig& config, Measurer& measurer,
                                            const Progress& progress);

// The layers at which a policy that starts at `start` should probe: those where pruning hurts less
// than at every probing layer before them. A layer in between knows less than what is remembered.
std::vector<int32_t> ProbingLayers(const std::vector<double>& layer_kl, int32_t start);

}  // namespace skipserve
