// What many cases say together: means with confidence intervals, by family, length and reading.
// Pure functions; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "engine/quality/evaluator.h"

namespace skipserve {

// One task under all readings.
struct Case {
  std::string family;
  int64_t tokens = 0;         // asked for
  int64_t prompt_tokens = 0;  // had
  int64_t index = 0;
  std::string dense_answer;
  bool has_answers = false;       // the task has; else scores mean nothing
  std::vector<Outcome> outcomes;  // dense first
};

// A mean and the interval that holds 95 % of the means of as many cases drawn from these with
// replacement (percentile bootstrap: Efron, 1979).
struct Estimate {
  double mean = 0;
  double low = 0;
  double high = 0;
};

// sum(parts) / sum(weights) over cases; 0 where the weights are all 0. The draws depend on `seed`.
Estimate RatioEstimate(absl::Span<const double> parts, absl::Span<const double> weights,
                       uint64_t seed);

struct Summary {
  std::string family;
  int64_t tokens = 0;
  size_t reading = 0;  // index of Case::outcomes
  int64_t cases = 0;
  double flop_bound = 1;       // dense FLOPs / this reading's, of all cases together
  double prefill_seconds = 0;  // mean
  Estimate kl;                 // nats per token of dense's answers
  Estimate agreement;          // share of those tokens
  bool has_answers = false;    // a task of them has; else these three mean nothing:
  Estimate score;              // mean share of the answers found, of tasks that have some
  int64_t found = 0;           // cases that this reading answers in full,
  int64_t asked = 0;           // of those that the dense read does
  Estimate loss;               // nats per token of the text's continuation
};

// One for every family, length and reading, in the order of their first case.
std::vector<Summary> Summarize(absl::Span<const Case> cases, uint64_t seed);

}  // namespace skipserve
