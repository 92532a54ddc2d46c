// What several kernels share, per Highway target: exponentials, codes of 8 bits, and the one
// register tile of attention and the probe. Included by .cc files that foreach_target.h
// re-includes; the toggle below is Highway's idiom for that. Pure functions.
#if defined(SKIPSERVE_CPU_SIMD_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIPSERVE_CPU_SIMD_MATH_INL_H_
#undef SKIPSERVE_CPU_SIMD_MATH_INL_H_
#else
#define SKIPSERVE_CPU_SIMD_MATH_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace skipserve::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// 2^f for |f| <= 0.5, relative error below 1e-7, exactly 1 at 0 (least maximum error, degree 5).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Exp2Fraction(D d, V f) {
  V p = hn::MulAdd(hn::Set(d, 1.32647296e-3f), f, hn::Set(d, 9.67151485e-3f));
  p = hn::MulAdd(p, f, hn::Set(d, 5.55073358e-2f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.240222424f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.693147004f));
  return hn::MulAdd(p, f, hn::Set(d, 1.0f));
}

// Adding 1.5 * 2^23 leaves the nearest integer in a float's low bits; 127 more makes it the biased
// exponent.
constexpr float kRoundToExponent = 12582912.0f + 127.0f;

template <class D, class V = hn::Vec<D>>
HWY_INLINE V PowerFromRounded(D d, V rounded) {
  const hn::RebindToUnsigned<D> du;
  return hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(du, rounded)));
}

// 2^x for x <= 0; exactly 0 below -127 (so a masked score of -inf weighs nothing), NaN for NaN.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Exp2NonPositive(D d, V x) {
  x = hn::Max(hn::Set(d, -127.0f), x);  // in this order a NaN passes through
  const V rounded = hn::Add(x, hn::Set(d, kRoundToExponent));
  const V f = hn::Sub(x, hn::Sub(rounded, hn::Set(d, kRoundToExponent)));
  return hn::Mul(Exp2Fraction(d, f), PowerFromRounded(d, rounded));
}

// e^x; 0 below -88, infinite above 88.3, NaN for NaN.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Exp(D d, V x) {
  x = hn::Min(hn::Set(d, 88.5f), hn::Max(hn::Set(d, -88.0f), x));
  const V rounded = hn::MulAdd(x, hn::Set(d, 1.44269504f), hn::Set(d, kRoundToExponent));
  const V n = hn::Sub(rounded, hn::Set(d, kRoundToExponent));
  V r = hn::NegMulAdd(n, hn::Set(d, 0.693359375f),
                      x);  // ln 2 in two parts: n times the first is exact
  r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), r);
  return hn::Mul(Exp2Fraction(d, hn::Mul(r, hn::Set(d, 1.44269504f))),
                 PowerFromRounded(d, rounded));
}

constexpr size_t kTileRows = 4;
constexpr size_t kTileVectors =
    3;  // 4 x 3 accumulators hide the latency of two FMA per cycle and fit 16 registers

// s[r][c] = sum_j a[r][j] * b[j][c] for a tile of 4 rows and 3 vectors of columns.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void DotTile(D d, const float* const* HWY_RESTRICT a, const float* HWY_RESTRICT b,
                        size_t depth, V (&s)[kTileRows][kTileVectors]) {
  const size_t n = hn::Lanes(d);
  const float* HWY_RESTRICT a0 = a[0];
  const float* HWY_RESTRICT a1 = a[1];
  const float* HWY_RESTRICT a2 = a[2];
  const float* HWY_RESTRICT a3 = a[3];
  V s00 = hn::Zero(d), s01 = s00, s02 = s00, s10 = s00, s11 = s00, s12 = s00;
  V s20 = s00, s21 = s00, s22 = s00, s30 = s00, s31 = s00, s32 = s00;
  for (size_t j = 0; j < depth; ++j, b += kTileVectors * n) {
    const V b0 = hn::Load(d, b);
    const V b1 = hn::Load(d, b + n);
    const V b2 = hn::Load(d, b + 2 * n);
    V x = hn::Set(d, a0[j]);
    s00 = hn::MulAdd(x, b0, s00);
    s01 = hn::MulAdd(x, b1, s01);
    s02 = hn::MulAdd(x, b2, s02);
    x = hn::Set(d, a1[j]);
    s10 = hn::MulAdd(x, b0, s10);
    s11 = hn::MulAdd(x, b1, s11);
    s12 = hn::MulAdd(x, b2, s12);
    x = hn::Set(d, a2[j]);
    s20 = hn::MulAdd(x, b0, s20);
    s21 = hn::MulAdd(x, b1, s21);
    s22 = hn::MulAdd(x, b2, s22);
    x = hn::Set(d, a3[j]);
    s30 = hn::MulAdd(x, b0, s30);
    s31 = hn::MulAdd(x, b1, s31);
    s32 = hn::MulAdd(x, b2, s32);
  }
  s[0][0] = s00, s[0][1] = s01, s[0][2] = s02;
  s[1][0] = s10, s[1][1] = s11, s[1][2] = s12;
  s[2][0] = s20, s[2][1] = s21, s[2][2] = s22;
  s[3][0] = s30, s[3][1] = s31, s[3][2] = s32;
}

// Of values: the largest magnitude, and NaN where one is not finite, else 0.
struct Range {
  float most = 0, bad = 0;
};
// `count` is whole vectors, here and below.
template <class D, class V = hn::Vec<D>>
HWY_INLINE Range RangeOf(D d, const float* from, int64_t count) {
  V most = hn::Zero(d), bad = hn::Zero(d);
  for (int64_t i = 0; i < count; i += hn::Lanes(d)) {
    const V x = hn::LoadU(d, from + i);
    most = hn::Max(most, hn::Abs(x));
    bad = hn::MulAdd(x, hn::Zero(d), bad);
  }
  return {hn::GetLane(hn::MaxOfLanes(d, most)), hn::GetLane(hn::SumOfLanes(d, bad))};
}

// A vector of codes of x * by, rounded to nearest.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void StoreCode(D, V x, V by, int8_t* to) {
  const hn::Rebind<int8_t, D> d8;
  const hn::Rebind<int16_t, D> d16;
  hn::StoreU(hn::DemoteTo(d8, hn::DemoteTo(d16, hn::NearestInt(hn::Mul(x, by)))), d8, to);
}

// to = from * by in 8 bits, rounded to nearest even.
template <class D>
HWY_INLINE void StoreCodes(D d, const float* from, int64_t count, float by, int8_t* to) {
  for (int64_t i = 0; i < count; i += hn::Lanes(d)) {
    StoreCode(d, hn::LoadU(d, from + i), hn::Set(d, by), to + i);
  }
}

// 1 / x for 1 <= x, relative error below 2^-22; NaN for NaN. Two steps of Newton's after an
// approximation of 11 bits or more take half the time of a division.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Reciprocal(D d, V x) {
  const V two = hn::Set(d, 2.0f);
  V r = hn::ApproximateReciprocal(x);
  r = hn::Mul(r, hn::NegMulAdd(x, r, two));
  return hn::Mul(r, hn::NegMulAdd(x, r, two));
}

// silu(gate) * up.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V SwiGluOf(D d, V gate, V up) {
  // e^88 is finite, as Reciprocal wants it, and below -88 all is 0. In this order a NaN passes
  // through.
  gate = hn::Max(hn::Set(d, -88.0f), gate);
  const V sigmoid = Reciprocal(d, hn::Add(hn::Set(d, 1.0f), Exp(d, hn::Neg(gate))));
  return hn::Mul(hn::Mul(gate, sigmoid), up);
}

}  // namespace skipserve::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIPSERVE_CPU_SIMD_MATH_INL_H_
