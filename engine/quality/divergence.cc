#include "engine/quality/divergence.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/logits.h"

namespace skipserve {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// Log of the sum of exponentials: what log-softmax subtracts. The largest logit is taken out first,
// so that no exponential overflows.
double LogSumExp(absl::Span<const float> logits) {
  const double top = logits[ArgMax(logits)];
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - top);  // a NaN stays one
  const double log_sum = top + std::log(sum);
  return std::isfinite(log_sum) ? log_sum : kNan;
}

}  // namespace

double KlDivergence(absl::Span<const float> p_logits, absl::Span<const float> q_logits) {
  if (p_logits.size() != q_logits.size() || p_logits.empty()) return kNan;
  const double p_norm = LogSumExp(p_logits), q_norm = LogSumExp(q_logits);
  if (std::isnan(p_norm) || std::isnan(q_norm)) return kNan;
  double kl = q_norm - p_norm;
  for (size_t i = 0; i < p_logits.size(); ++i) {
    const double p = std::exp(p_logits[i] - p_norm);
    if (p > 0) kl += p * (double{p_logits[i]} - q_logits[i]);  // p log p goes to 0 with p
  }
  return kl < 0 ? 0 : kl;  // by rounding, for rows that are all but equal
}

double TokenLoss(absl::Span<const float> logits, int32_t id) {
  return LogSumExp(logits) - logits[id];
}

int32_t ArgMax(absl::Span<const float> logits) {
  return static_cast<int32_t>(std::max<int64_t>(0, BestLogit(logits)));
}

}  // namespace skipserve
