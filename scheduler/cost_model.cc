#include "scheduler/cost_model.h"

#include <algorithm>

namespace skipserve {
namespace {

constexpr double kRate = 0.1;      // of the error that one step corrects
constexpr double kOutlier = 3;     // a step that was so many times off, either way, counts as that
constexpr double kMaxFactor = 50;  // how far a machine may be from the prior, either way

}  // namespace

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
  std::array<double, kWorkKinds> expected;  // by the prior, seconds of each kind
  double squares = 0;
  for (size_t k = 0; k < kWorkKinds; ++k) {
    expected[k] = prior_.amounts[k] * work.amounts[k];
    squares += expected[k] * expected[k];
  }
  if (!(squares > 0) || !(seconds > 0)) return;
  const double predicted = Seconds(work);
  // A clock that was set, or a step that was held up: neither says much about the machine.
  const double error = std::clamp(seconds, predicted / kOutlier, predicted * kOutlier) - predicted;
  ++observed_;
  for (size_t k = 0; k < kWorkKinds; ++k) {
    factors_[k] =
        std::clamp(factors_[k] + kRate * error * expected[k] / squares, 1 / kMaxFactor, kMaxFactor);
  }
}

}  // namespace skipserve
