#include "engine/quality/divergence.h"

#include <algorithm>
#include <cmath>

namespace skipserve {
namespace {

// log sum exp. Terms in float, which is exact enough for one term, their sum in double.
double LogSum(absl::Span<const float> logits, float largest) {
  double sum = 0;
  for (const float l : logits) sum += std::exp(l - largest);
  return largest + std::log(sum);
}

}  // namespace

double KlDivergence(absl::Span<const float> p_logits, absl::Span<const float> q_logits) {
  const float p_largest = p_logits[ArgMax(p_logits)];
  const double q_log_sum = LogSum(q_logits, q_logits[ArgMax(q_logits)]);
  double p_sum = 0, weighted = 0;  // sum of exp(p), and of exp(p) (p - q), both less the largest p
  for (size_t i = 0; i < p_logits.size(); ++i) {
    const double weight = std::exp(p_logits[i] - p_largest);
    p_sum += weight;
    weighted += weight * (double{p_logits[i]} - q_logits[i]);
  }
  const double p_log_sum = p_largest + std::log(p_sum);
  const double kl = weighted / p_sum - p_log_sum + q_log_sum;
  return kl < 0 ? 0 : kl;  // rounding; NaN stays NaN
}

double TokenLoss(absl::Span<const float> logits, int32_t id) {
  return LogSum(logits, logits[ArgMax(logits)]) - logits[id];
}

int32_t ArgMax(absl::Span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

}  // namespace skipserve
