// The CPU backend with faults by chance: an operation throws, finds no memory, or takes long; an
// allocation is refused. All chance comes from one seed.
#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <new>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "kernels/cpu/cpu_ops.h"

namespace skipserve::soak {

class FaultyOps : public cpu::CpuOps {
 public:
  // `rate`: the chance of a fault in an operation, from 0 to 1.
  FaultyOps(int threads, double rate, uint64_t seed) : CpuOps(threads), rate_(rate), dice_(seed) {}

  void Arm() { armed_ = true; }  // once the model is loaded
  // How often each has happened. Read it when nothing runs.
  const std::map<std::string, int64_t>& counts() const { return counts_; }

  absl::StatusOr<Buffer> Allocate(size_t bytes) override {
    // There are few of these, a handful a request.
    if (Happens(20 * rate_, "allocation refused")) {
      not_alone_ = dice_() % 2;
      return absl::ResourceExhaustedError("injected: no memory; try again");
    }
    return CpuOps::Allocate(bytes);
  }
  void MatMul(TensorView a, const Weight& w, TensorView out) override {
    Perhaps();
    CpuOps::MatMul(a, w, out);
  }
  void NormMatMul(TensorView x, IndexView rows, TensorView gain, float eps,
                  absl::Span<const Projection> projections) override {
    Perhaps();
    CpuOps::NormMatMul(x, rows, gain, eps, projections);
  }
  void MatMulAdd(TensorView a, const Weight& w, TensorView x, IndexView rows) override {
    Perhaps();
    CpuOps::MatMulAdd(a, w, x, rows);
  }
  void FeedForward(TensorView x, IndexView rows, const FeedForwardWeights& w) override {
    Perhaps();
    CpuOps::FeedForward(x, rows, w);
  }
  void DecodeMatMul(TensorView a, const Weight& w, TensorView out) override {
    Perhaps();
    CpuOps::DecodeMatMul(a, w, out);
  }
  void PrefillAttention(TensorView q, absl::Span<const KvSegment> segments, const KvPool& pool,
                        TensorView out) override {
    Perhaps();
    CpuOps::PrefillAttention(q, segments, pool, out);
  }
  void DecodeAttention(TensorView q, absl::Span<const KvSegment> segments, const KvPool& pool,
                       TensorView out) override {
    Perhaps();
    CpuOps::DecodeAttention(q, segments, pool, out);
  }
  void ProbeScores(TensorView q, TensorView k, const ProbeParams& params, float* scores) override {
    Perhaps();
    CpuOps::ProbeScores(q, k, params, scores);
  }
  void StatesRead(IndexView blocks, DType dtype, const KvPool& pool, TensorView x) override {
    Perhaps();
    CpuOps::StatesRead(blocks, dtype, pool, x);
  }

 private:
  bool Happens(double chance, const char* what) {
    if (!armed_ || !std::bernoulli_distribution(std::min(1.0, chance))(dice_)) return false;
    ++counts_[what];
    return true;
  }
  void Perhaps() {
    if (std::exchange(not_alone_, false)) throw std::runtime_error("injected after another fault");
    if (Happens(rate_ / 3, "operation threw")) throw std::runtime_error("injected");
    if (Happens(rate_ / 3, "no memory")) throw std::bad_alloc();
    if (Happens(rate_ / 3, "operation late")) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20 + dice_() % 100));
    }
  }

  const double rate_;
  std::atomic<bool> armed_{false};
  std::mt19937_64 dice_;
  bool not_alone_ = false;  // the step that lacks memory fails too
  std::map<std::string, int64_t> counts_;
};

}  // namespace skipserve::soak
