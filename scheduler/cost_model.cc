#include "scheduler/cost_model.h"

#include <algorithm>
#include <cmath>

namespace skipserve {
namespace {

// Variances, of logarithms: of a rate before it was seen, of what a rate changes from step to step
// (a shared machine drifts by a fifth in an hour), and of a step's time about its work's.
constexpr double kUnseen = 0.25;
constexpr double kDrift = 1e-4;
constexpr double kNoise = 0.08 * 0.08;
constexpr double kOutlier = 1.25;  // a step that was more times off, either way, counts as that
constexpr double kMaxFactor = 50;  // how far a machine may be from the prior, either way

}  // namespace

CostModel::CostModel(const Work& prior) : prior_(prior) {
  factors_.fill(1);
  for (size_t k = 0; k < kWorkKinds; ++k) unsure_[k][k] = kUnseen;
}

Work& Work::operator+=(const Work& other) {
  for (size_t k = 0; k < kWorkKinds; ++k) amounts[k] += other.amounts[k];
  return *this;
}

double CostModel::Seconds(const Work& work) const {
  double seconds = 0;
  for (size_t k = 0; k < kWorkKinds; ++k) {
    seconds += factors_[k] * prior_.amounts[k] * work.amounts[k];
  }
  return seconds;
}

Work CostModel::rates() const {
  Work rates = prior_;
  for (size_t k = 0; k < kWorkKinds; ++k) rates.amounts[k] *= factors_[k];
  return rates;
}

void CostModel::Observe(const Work& work, double seconds) {
  const double predicted = Seconds(work);
  if (!(predicted > 0) || !(seconds > 0)) return;
  // A clock that was set, or a step that was held up: neither says much about the machine.
  const double error = std::clamp(seconds, predicted / kOutlier, predicted * kOutlier) - predicted;
  ++observed_;
  std::array<double, kWorkKinds> part;      // of the prediction: its derivative by a logarithm
  std::array<double, kWorkKinds> shared{};  // covariance of each logarithm and the prediction
  double variance = kNoise * predicted * predicted;
  for (size_t k = 0; k < kWorkKinds; ++k) {
    part[k] = factors_[k] * prior_.amounts[k] * work.amounts[k];
  }
  for (size_t k = 0; k < kWorkKinds; ++k) {
    for (size_t j = 0; j < kWorkKinds; ++j) shared[k] += unsure_[k][j] * part[j];
    variance += shared[k] * part[k];
  }
  for (size_t k = 0; k < kWorkKinds; ++k) {
    factors_[k] = std::clamp(factors_[k] * std::exp(shared[k] / variance * error), 1 / kMaxFactor,
                             kMaxFactor);
    for (size_t j = 0; j < kWorkKinds; ++j) unsure_[k][j] -= shared[k] * shared[j] / variance;
    if (part[k] > 0 && unsure_[k][k] < kUnseen) unsure_[k][k] += kDrift;
  }
}

}  // namespace skipserve
