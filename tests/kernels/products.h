// What the tests of products share.
#pragma once

#include "kernels/cpu/amx.h"
#include "kernels/cpu/native_bf16.h"
#include "tests/kernels/support.h"

namespace skipserve::testing {

struct Shape {
  int64_t n, k;
};

using Operation = void (Ops::*)(TensorView a, const Weight& w, TensorView out);
constexpr Operation kPrefill = &Ops::MatMul;
constexpr Operation kDecode = &Ops::DecodeMatMul;
constexpr WeightType kTypes[] = {WeightType::kF32, WeightType::kBF16, WeightType::kInt8,
                                 WeightType::kInt4};

inline Matrix Product(Ops& ops, Operation operation, const Matrix& a, const Weight& w,
                      int64_t padding = 0) {
  const Device in(ops, a, padding);
  const Device out = Device::Empty(ops, a.rows, w.out_features(), padding);
  (ops.*operation)(in.view(), w, out.view());
  return out.Get();
}

// Two sums of k products, each off by at most k roundings of |a| |w|; rounding the activations to
// bf16, which only machines that are fast at it do, for decode steps only on AMX, adds 2^-8.
// Of 4 bits, prompts round the weights so too, and decode steps sum scales and minima apart, whose
// products are up to 8 times |a| |w|.
inline double Tolerance(const Matrix& a, const Matrix& w, WeightType type, Operation operation) {
  const bool four_bits = type == WeightType::kInt4;
  const bool native = operation == kPrefill ? cpu::CpuHasFastBf16() : cpu::AmxReady() && !four_bits;
  const bool rounded = (type == WeightType::kBF16 || four_bits) && native;
  const double sums = four_bits && operation == kDecode ? 8.0 : 1.0;
  const double relative = sums * 2.0 * (a.cols + 1) * kUnit + (rounded ? 1.0 / 256 : 0.0);
  return relative * MaxRowNorm(a, a.cols) * MaxRowNorm(w, w.cols) * (1 + 1.0 / 256);
}

}  // namespace skipserve::testing
