#include "kernels/cpu/paired_gemv.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/paired_gemv.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace skipserve::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
namespace {

using D = hn::CappedTag<float, 16>;  // four vectors divide a block's 64 outputs
using V = hn::Vec<D>;
constexpr int64_t kVecs = 4;

// kM rows by kVecs vectors of outputs from `column` of a block on. `sums` [kM, kOutputs].
template <int kM>
HWY_INLINE void Columns(const float* HWY_RESTRICT a, int64_t stride, int64_t k,
                        const uint16_t* HWY_RESTRICT w, int64_t column, float* HWY_RESTRICT sums) {
  const D d;
  const hn::RebindToUnsigned<D> du;
  const int64_t n = hn::Lanes(d);
  const auto upper = hn::Set(du, 0xFFFF0000u);
  V acc[kM][kVecs];
  for (int i = 0; i < kM; ++i) {
    for (V& v : acc[i]) v = hn::Zero(d);
  }
  const auto* pairs = reinterpret_cast<const uint32_t*>(w) + column;
  for (int64_t j = 0; j < k; j += 2, pairs += PairedWeights::kOutputs) {
    V even[kVecs], odd[kVecs];
    for (int64_t c = 0; c < kVecs; ++c) {
      const auto both = hn::LoadU(du, pairs + c * n);
      even[c] = hn::BitCast(d, hn::ShiftLeft<16>(both));
      odd[c] = hn::BitCast(d, hn::And(both, upper));
    }
    for (int i = 0; i < kM; ++i) {
      const V a0 = hn::Set(d, a[i * stride + j]);
      for (int64_t c = 0; c < kVecs; ++c) acc[i][c] = hn::MulAdd(a0, even[c], acc[i][c]);
      if (j + 1 == k) continue;
      const V a1 = hn::Set(d, a[i * stride + j + 1]);
      for (int64_t c = 0; c < kVecs; ++c) acc[i][c] = hn::MulAdd(a1, odd[c], acc[i][c]);
    }
  }
  for (int i = 0; i < kM; ++i) {
    for (int64_t c = 0; c < kVecs; ++c) {
      hn::StoreU(acc[i][c], d, sums + i * PairedWeights::kOutputs + column + c * n);
    }
  }
}

template <int kM>
void Block(TensorView a, int64_t row, const PairedWeights& w, int64_t block, TensorView out) {
  constexpr int64_t kOutputs = PairedWeights::kOutputs;
  float sums[kM * kOutputs];
  const int64_t step = kVecs * static_cast<int64_t>(hn::Lanes(D()));
  for (int64_t column = 0; column < kOutputs; column += step) {
    Columns<kM>(a.data + row * a.stride, a.stride, a.cols, w.Outputs(block), column, sums);
  }
  const int64_t count = std::min(kOutputs, w.n() - block * kOutputs);
  for (int i = 0; i < kM; ++i) {
    std::copy_n(sums + i * kOutputs, count, out.data + (row + i) * out.stride + block * kOutputs);
  }
}

void Run(TensorView a, const PairedWeights& w, int64_t begin, int64_t end, TensorView out) {
  for (int64_t block = begin; block < end; ++block) {
    int64_t row = 0;
    for (; row + 4 <= a.rows; row += 4) Block<4>(a, row, w, block, out);
    if (a.rows - row == 3) Block<3>(a, row, w, block, out);
    if (a.rows - row == 2) Block<2>(a, row, w, block, out);
    if (a.rows - row == 1) Block<1>(a, row, w, block, out);
  }
}

}  // namespace
}  // namespace skipserve::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skipserve::cpu {

HWY_EXPORT(Run);

void PairedGemv(TensorView a, const PairedWeights& w, int64_t begin, int64_t end, TensorView out) {
  HWY_DYNAMIC_DISPATCH(Run)(a, w, begin, end, out);
}

}  // namespace skipserve::cpu
#endif  // HWY_ONCE
