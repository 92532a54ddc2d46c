#include "kernels/cpu/online_softmax.h"

#include <algorithm>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/online_softmax.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/cpu/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skipserve::cpu::HWY_NAMESPACE {
namespace {

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// 2^x for x <= 0 to a relative error of 1e-4, a twentieth of a bf16 rounding (least maximum error,
// degree 3); 0 below -127, NaN for NaN.
HWY_INLINE V Exp2Rough(D d, V x) {
  x = hn::Max(hn::Set(d, -127.0f), x);  // in this order a NaN passes through
  const V rounded = hn::Add(x, hn::Set(d, kRoundToExponent));
  const V f = hn::Sub(x, hn::Sub(rounded, hn::Set(d, kRoundToExponent)));
  V p = hn::MulAdd(hn::Set(d, 0.0550086900f), f, hn::Set(d, 0.242210631f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.693282917f));
  p = hn::MulAdd(p, f, hn::Set(d, 1.0f));
  return hn::Mul(p, PowerFromRounded(d, rounded));
}

// Weights are never negative, so that half a unit added before cutting rounds them.
HWY_INLINE void StoreBf16(V x, uint16_t* to) {
  const hn::RebindToUnsigned<D> du;
  const hn::RebindToSigned<D> di;
  const hn::Rebind<uint16_t, D> d16;
  const auto bits = hn::ShiftRight<16>(hn::Add(hn::BitCast(du, x), hn::Set(du, 0x8000u)));
  hn::StoreU(hn::DemoteTo(d16, hn::BitCast(di, bits)), d16, to);
}

V MaxOfRow(D d, const float* HWY_RESTRICT s, int64_t visible) {
  const int64_t n = hn::Lanes(d);
  const V lowest = hn::Set(d, std::numeric_limits<float>::lowest());
  V m0 = lowest, m1 = lowest;
  int64_t i = 0;
  for (; i + 2 * n <= visible; i += 2 * n) {
    m0 = hn::Max(m0, hn::Load(d, s + i));
    m1 = hn::Max(m1, hn::Load(d, s + i + n));
  }
  for (; i < visible; i += n) {
    const V x = hn::IfThenElse(hn::FirstN(d, visible - i), hn::Load(d, s + i), lowest);
    m0 = hn::Max(m0, x);
  }
  return hn::MaxOfLanes(d, hn::Max(m0, m1));
}

// Weights 2^(scale s - m) of a row's visible keys, zeros after them. -> their sum.
float WeighRow(D d, const float* HWY_RESTRICT s, int64_t visible, int64_t keys, V scale, V m,
               uint16_t* HWY_RESTRICT weights) {
  const int64_t n = hn::Lanes(d);
  V sum0 = hn::Zero(d), sum1 = sum0;
  int64_t i = 0;
  for (; i + 2 * n <= visible; i += 2 * n) {
    const V e0 = Exp2Rough(d, hn::MulSub(hn::Load(d, s + i), scale, m));
    const V e1 = Exp2Rough(d, hn::MulSub(hn::Load(d, s + i + n), scale, m));
    StoreBf16(e0, weights + i);
    StoreBf16(e1, weights + i + n);
    sum0 = hn::Add(sum0, e0);
    sum1 = hn::Add(sum1, e1);
  }
  for (; i < visible; i += n) {
    V e = Exp2Rough(d, hn::MulSub(hn::Load(d, s + i), scale, m));
    e = hn::IfThenElseZero(hn::FirstN(d, visible - i), e);
    StoreBf16(e, weights + i);
    sum0 = hn::Add(sum0, e);
  }
  if (i < keys) std::fill(weights + i, weights + keys, uint16_t{0});
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(sum0, sum1)));
}

void Rescale(D d, float* HWY_RESTRICT out, int64_t dim, V by) {
  const int64_t n = hn::Lanes(d);
  int64_t j = 0;
  for (; j + n <= dim; j += n) hn::StoreU(hn::Mul(hn::LoadU(d, out + j), by), d, out + j);
  for (; j < dim; ++j) out[j] *= hn::GetLane(by);
}

void Softmax(const SoftmaxTile& t) {
  const D d;
  const V scale = hn::Set(d, t.scale);
  for (int64_t r = 0; r < t.rows; ++r) {
    const float* s = t.scores + r * t.keys;
    uint16_t* weights = t.weights + r * t.keys;
    const V old_max = hn::Set(d, t.max[r]);
    const V m = hn::Max(old_max, hn::Mul(MaxOfRow(d, s, t.visible[r]), scale));
    const float sum = WeighRow(d, s, t.visible[r], t.keys, scale, m, weights);
    if (hn::GetLane(m) == t.max[r]) {
      t.sum[r] += sum;
      continue;
    }
    const V by = Exp2NonPositive(d, hn::Sub(old_max, m));
    t.sum[r] = t.sum[r] * hn::GetLane(by) + sum;
    t.max[r] = hn::GetLane(m);
    Rescale(d, t.out + r * t.dim, t.dim, by);
  }
}

}  // namespace
}  // namespace skipserve::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skipserve::cpu {

HWY_EXPORT(Softmax);

void OnlineSoftmax(const SoftmaxTile& tile) { HWY_DYNAMIC_DISPATCH(Softmax)(tile); }

}  // namespace skipserve::cpu
#endif  // HWY_ONCE
