#include "kernels/cpu/quantize.h"

#include <algorithm>
#include <cmath>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/quantize.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace skipserve::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;
constexpr int64_t kRun = 64;
constexpr float kTiny = 1e-30f;  // a row of less is a row of zeros

// Each lane's partner at a distance of 1 << kBit lanes.
template <int kBit>
HWY_INLINE V Partner(D d, V v) {
  if constexpr (kBit == 0) return hn::Shuffle2301(v);
  if constexpr (kBit == 1) return hn::Shuffle1032(v);
  if constexpr (kBit == 2) return hn::SwapAdjacentBlocks(v);
  if constexpr (kBit == 3) return hn::ConcatLowerUpper(d, v, v);
}

// Sums where the lane's bit is 0, differences where it is 1.
template <int kBit>
HWY_INLINE void Lanes(D d, V (&v)[kRun / hn::MaxLanes(D())]) {
  if constexpr ((1 << kBit) < hn::MaxLanes(D())) {
    const hn::RebindToSigned<D> di;
    const auto bit = hn::And(hn::Iota(di, 0), hn::Set(di, 1 << kBit));
    const V sign = hn::IfThenElse(hn::RebindMask(d, hn::Eq(bit, hn::Zero(di))), hn::Set(d, 1.0f),
                                  hn::Set(d, -1.0f));
    for (V& x : v) x = hn::MulAdd(x, sign, Partner<kBit>(d, x));
  }
}

// H x / sqrt(64) of one run.
HWY_INLINE void RotateRun(D d, V (&v)[kRun / hn::MaxLanes(D())]) {
  constexpr int64_t kVectors = kRun / hn::MaxLanes(D());
  for (int64_t half = kVectors / 2; half >= 1; half /= 2) {
    for (int64_t i = 0; i < kVectors; ++i) {
      if (i & half) continue;
      const V a = v[i], b = v[i + half];
      v[i] = hn::Add(a, b);
      v[i + half] = hn::Sub(a, b);
    }
  }
  Lanes<3>(d, v);
  Lanes<2>(d, v);
  Lanes<1>(d, v);
  Lanes<0>(d, v);
  for (V& x : v) x = hn::Mul(x, hn::Set(d, 0.125f));
}

void RotateShort(float* x, int64_t order) {
  for (int64_t half = order / 2; half >= 1; half /= 2) {
    for (int64_t i = 0; i < order; ++i) {
      if (i & half) continue;
      const float a = x[i], b = x[i + half];
      x[i] = a + b;
      x[i + half] = a - b;
    }
  }
  const float norm = 1.0f / std::sqrt(static_cast<float>(order));
  for (int64_t i = 0; i < order; ++i) x[i] *= norm;
}

// `to` may be `from`.
void Rotate(const float* from, int64_t count, float* to) {
  const D d;
  constexpr int64_t kLanes = hn::MaxLanes(d);
  if (count % kRun == 0) {
    for (int64_t run = 0; run < count; run += kRun) {
      V v[kRun / kLanes];
      for (int64_t i = 0; i < kRun / kLanes; ++i) v[i] = hn::LoadU(d, from + run + i * kLanes);
      RotateRun(d, v);
      for (int64_t i = 0; i < kRun / kLanes; ++i) hn::StoreU(v[i], d, to + run + i * kLanes);
    }
    return;
  }
  if (to != from) std::copy_n(from, count, to);
  const int64_t order = count & -count;  // the largest power of two that divides it
  for (int64_t run = 0; run < count; run += order) RotateShort(to + run, order);
}

float Quantize(const float* from, int64_t count, int8_t* to) {
  const D d;
  const hn::Rebind<int8_t, D> d8;
  const hn::Rebind<int16_t, D> d16;
  const int64_t n = hn::Lanes(d);
  V most = hn::Zero(d), bad = hn::Zero(d);
  int64_t i = 0;
  for (; i + n <= count; i += n) {
    const V x = hn::LoadU(d, from + i);
    most = hn::Max(most, hn::Abs(x));
    bad = hn::MulAdd(x, hn::Zero(d), bad);  // NaN where x is not finite, else 0
  }
  float max = hn::GetLane(hn::MaxOfLanes(d, most)), nan = hn::GetLane(hn::SumOfLanes(d, bad));
  for (int64_t j = i; j < count; ++j) {
    max = std::max(max, std::abs(from[j]));
    nan += from[j] * 0.0f;
  }
  if (!(nan == 0.0f) || max < kTiny) {
    std::fill_n(to, count, int8_t{0});
    return nan;
  }
  const float inverse = 127.0f / max;
  for (i = 0; i + n <= count; i += n) {
    const auto code = hn::NearestInt(hn::Mul(hn::LoadU(d, from + i), hn::Set(d, inverse)));
    hn::StoreU(hn::DemoteTo(d8, hn::DemoteTo(d16, code)), d8, to + i);
  }
  for (; i < count; ++i) to[i] = static_cast<int8_t>(std::nearbyint(from[i] * inverse));
  return max / 127.0f;
}

void Scale(float* x, const float* scales, float by, int64_t count) {
  const D d;
  const int64_t n = hn::Lanes(d);
  int64_t i = 0;
  for (; i + n <= count; i += n) {
    const V scale = hn::Mul(hn::LoadU(d, scales + i), hn::Set(d, by));
    hn::StoreU(hn::Mul(hn::LoadU(d, x + i), scale), d, x + i);
  }
  for (; i < count; ++i) x[i] *= scales[i] * by;
}

}  // namespace
}  // namespace skipserve::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skipserve::cpu {

HWY_EXPORT(Quantize);
HWY_EXPORT(Rotate);
HWY_EXPORT(Scale);

float QuantizeRow(const float* from, int64_t n, int8_t* to) {
  thread_local std::vector<float> rotated;
  rotated.resize(n);
  HWY_DYNAMIC_DISPATCH(Rotate)(from, n, rotated.data());
  return HWY_DYNAMIC_DISPATCH(Quantize)(rotated.data(), n, to);
}
void RotateRow(float* x, int64_t n) { HWY_DYNAMIC_DISPATCH(Rotate)(x, n, x); }
void ScaleRow(float* x, const float* scales, float by, int64_t n) {
  HWY_DYNAMIC_DISPATCH(Scale)(x, scales, by, n);
}

}  // namespace skipserve::cpu
#endif  // HWY_ONCE
