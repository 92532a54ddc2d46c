// How long work takes on this machine: seconds per unit of each kind, learnt from the steps that
// ran. Deterministic: the same observations give the same answers. Not thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace skipserve {

enum class WorkKind : size_t {
  kMatMul,      // FLOPs of matrix products over rows of prompts
  kAttention,   // FLOPs of their attention
  kKeys,        // keys that pieces of prefill attend to, summed over layers: read once a piece
  kProbe,       // FLOPs of the probes' scores
  kLayer,       // layers that a piece of prefill goes through: what calls cost by themselves
  kDecodePass,  // passes over the weights for a decode step: 0 or 1
  kDecodeRow,   // sequences that decode
  kDecodeKv,    // cached tokens that they read, summed over layers
};
constexpr size_t kWorkKinds = 8;

// Amounts by kind; as a rate, seconds per unit.
struct Work {
  std::array<double, kWorkKinds> amounts{};

  double& operator[](WorkKind kind) { return amounts[static_cast<size_t>(kind)]; }
  double operator[](WorkKind kind) const { return amounts[static_cast<size_t>(kind)]; }
  Work& operator+=(const Work& other);
};

class CostModel {
 public:
  // What it assumes before it has seen anything, in seconds per unit.
  explicit CostModel(const Work& prior);

  double Seconds(const Work& work) const;

  // A step of this work took so long. A Kalman filter over the logarithms of the rates: what is
  // unsure moves most, kinds that always come together move together, and one step that was held
  // up by something else moves little.
  void Observe(const Work& work, double seconds);
  int64_t observed() const { return observed_; }  // steps
  Work rates() const;                             // seconds per unit, as of now

 private:
  Work prior_;
  int64_t observed_ = 0;
  std::array<double, kWorkKinds> factors_;  // on the prior, what was learnt
  std::array<std::array<double, kWorkKinds>, kWorkKinds>
      unsure_{};  // covariance of their logarithms
};

}  // namespace skipserve
