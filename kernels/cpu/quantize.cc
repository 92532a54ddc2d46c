#include "kernels/cpu/quantize.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "kernels/ops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/quantize.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/cpu/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skipserve::cpu::HWY_NAMESPACE {
namespace {

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
HWY_INLINE void ButterflyLanes(D d, V (&v)[kRun / hn::MaxLanes(D())]) {
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
  ButterflyLanes<3>(d, v);
  ButterflyLanes<2>(d, v);
  ButterflyLanes<1>(d, v);
  ButterflyLanes<0>(d, v);
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
HWY_INLINE void AddToRange(D d, V x, V& most, V& bad) {
  most = hn::Max(most, hn::Abs(x));
  bad = hn::MulAdd(x, hn::Zero(d), bad);
}

HWY_INLINE Range RangeFrom(D d, V most, V bad) {
  return {hn::GetLane(hn::MaxOfLanes(d, most)), hn::GetLane(hn::SumOfLanes(d, bad))};
}

void Rotate(const float* from, int64_t count, float* to, Range& range) {
  const D d;
  constexpr int64_t kVectors = kRun / hn::MaxLanes(D());
  if (count % kRun == 0) {
    V most = hn::Zero(d), bad = hn::Zero(d);
    for (int64_t run = 0; run < count; run += kRun) {
      V v[kVectors];
      for (int64_t i = 0; i < kVectors; ++i) v[i] = hn::LoadU(d, from + run + i * hn::Lanes(d));
      RotateRun(d, v);
      for (int64_t i = 0; i < kVectors; ++i) {
        AddToRange(d, v[i], most, bad);
        hn::StoreU(v[i], d, to + run + i * hn::Lanes(d));
      }
    }
    range = RangeFrom(d, most, bad);
    return;
  }
  if (to != from) std::copy_n(from, count, to);
  const int64_t order = count & -count;  // the largest power of two that divides it
  for (int64_t run = 0; run < count; run += order) RotateShort(to + run, order);
  for (int64_t i = 0; i < count; ++i) {
    range.most = std::max(range.most, std::abs(to[i]));
    range.bad += to[i] * 0.0f;
  }
}

// Whether a row has no codes: not finite, or zeros.
bool IsNothing(Range range) { return !(range.bad == 0.0f) || range.most < kTiny; }

float Quantize(const float* from, int64_t count, Range range, int8_t* to) {
  if (IsNothing(range)) {
    std::fill_n(to, count, int8_t{0});
    return range.bad;
  }
  const D d;
  const int64_t n = hn::Lanes(d), whole = count / n * n;
  const float inverse = 127.0f / range.most;
  StoreCodes(d, from, whole, inverse, to);
  for (int64_t i = whole; i < count; ++i)
    to[i] = static_cast<int8_t>(std::nearbyint(from[i] * inverse));
  return range.most / 127.0f;
}

// One run, which never leaves the registers.
float RotateAndQuantizeRun(const float* from, int8_t* to) {
  const D d;
  constexpr int64_t kVectors = kRun / hn::MaxLanes(D());
  V v[kVectors];
  for (int64_t i = 0; i < kVectors; ++i) v[i] = hn::LoadU(d, from + i * hn::Lanes(d));
  RotateRun(d, v);
  V most = hn::Zero(d), bad = hn::Zero(d);
  for (const V& x : v) AddToRange(d, x, most, bad);
  const Range range = RangeFrom(d, most, bad);
  if (IsNothing(range)) {
    std::fill_n(to, kRun, int8_t{0});
    return range.bad;
  }
  const V inverse = hn::Set(d, 127.0f / range.most);
  for (int64_t i = 0; i < kVectors; ++i) {
    StoreCode(d, v[i], inverse, to + i * hn::Lanes(d));
  }
  return range.most / 127.0f;
}

// rotated: room for a row.
void RotateAndQuantize(const float* from, int64_t rows, int64_t count, float* rotated, int8_t* to,
                       float* scales) {
  for (int64_t i = 0; i < rows; ++i, from += count, to += count) {
    if (count == kRun) {
      scales[i] = RotateAndQuantizeRun(from, to);
    } else {
      Range range;
      Rotate(from, count, rotated, range);
      scales[i] = Quantize(rotated, count, range, to);
    }
  }
}

void GroupsTo8Bits(const float* from, int64_t count, int8_t* to, float* scales, float* sums) {
  const D d;
  constexpr int64_t kGroup = FourBitRows::kGroup;
  for (int64_t group = 0; group < count; group += kGroup, from += kGroup, to += kGroup) {
    const float scale = Quantize(from, kGroup, RangeOf(d, from, kGroup), to);
    int sum = 0;
    for (int64_t i = 0; i < kGroup; ++i) sum += to[i];
    scales[group / kGroup] = scale;
    sums[group / kGroup] = scale * static_cast<float>(sum);
  }
}

void RotateInPlace(float* x, int64_t count) {
  Range range;
  Rotate(x, count, x, range);
}

// x[i..] as values.
template <bool kOffsets>
HWY_INLINE V Scaled(D d, const float* x, OutputScales w, V by, int64_t i) {
  V sum;
  if constexpr (kOffsets) {
    const hn::RebindToSigned<D> di;
    const auto codes = hn::BitCast(di, hn::LoadU(d, x + i));
    sum = hn::ConvertTo(d, hn::Sub(codes, hn::LoadU(di, w.offsets + i)));
  } else {
    sum = hn::LoadU(d, x + i);
  }
  return hn::Mul(sum, hn::Mul(hn::LoadU(d, w.scales + i), by));
}

template <bool kOffsets>
void ScaleAs(float* x, OutputScales w, float by, int64_t count) {
  const D d;
  const int64_t n = hn::Lanes(d);
  int64_t i = 0;
  for (; i + n <= count; i += n) {
    hn::StoreU(Scaled<kOffsets>(d, x, w, hn::Set(d, by), i), d, x + i);
  }
  for (; i < count; ++i) {
    float sum = x[i];
    if constexpr (kOffsets) sum = static_cast<float>(std::bit_cast<int32_t>(x[i]) - w.offsets[i]);
    x[i] = sum * (w.scales[i] * by);
  }
}

template <bool kOffsets>
void SwiGluAs(const float* gate, OutputScales of_gate, const float* up, OutputScales of_up,
              float by, int64_t count, float* out) {
  const D d;
  const V scale = hn::Set(d, by);
  for (int64_t i = 0; i < count; i += hn::Lanes(d)) {  // whole blocks of outputs
    hn::StoreU(SwiGluOf(d, Scaled<kOffsets>(d, gate, of_gate, scale, i),
                        Scaled<kOffsets>(d, up, of_up, scale, i)),
               d, out + i);
  }
}

void Scale(float* x, OutputScales w, float by, int64_t count) {
  (w.offsets == nullptr ? &ScaleAs<false> : &ScaleAs<true>)(x, w, by, count);
}

void ScaledSwiGlu(const float* gate, OutputScales of_gate, const float* up, OutputScales of_up,
                  float by, int64_t count, float* out) {
  (of_gate.offsets == nullptr ? &SwiGluAs<false> : &SwiGluAs<true>)(gate, of_gate, up, of_up, by,
                                                                    count, out);
}

}  // namespace
}  // namespace skipserve::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skipserve::cpu {

HWY_EXPORT(RotateAndQuantize);
HWY_EXPORT(RotateInPlace);
HWY_EXPORT(GroupsTo8Bits);
HWY_EXPORT(Scale);
HWY_EXPORT(ScaledSwiGlu);

float QuantizeRow(const float* from, int64_t n, int8_t* to) {
  float scale;
  QuantizeRows(from, 1, n, to, &scale);
  return scale;
}
void QuantizeRows(const float* from, int64_t rows, int64_t n, int8_t* to, float* scales) {
  thread_local std::vector<float> rotated;
  rotated.resize(n);
  HWY_DYNAMIC_DISPATCH(RotateAndQuantize)(from, rows, n, rotated.data(), to, scales);
}
void ToUnsigned(int8_t* codes, int64_t n) {
  for (int64_t i = 0; i < n; ++i) codes[i] = static_cast<int8_t>(codes[i] ^ -kUnsigned);
}
void RotateRow(float* x, int64_t n) { HWY_DYNAMIC_DISPATCH(RotateInPlace)(x, n); }
void QuantizeGroups(const float* from, int64_t n, int8_t* to, float* scales, float* sums) {
  HWY_DYNAMIC_DISPATCH(GroupsTo8Bits)(from, n, to, scales, sums);
}
void ScaleRow(float* x, OutputScales w, float by, int64_t n) {
  HWY_DYNAMIC_DISPATCH(Scale)(x, w, by, n);
}

void ScaledSwiGluRow(const float* gate, OutputScales of_gate, const float* up, OutputScales of_up,
                     float by, int64_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(ScaledSwiGlu)(gate, of_gate, up, of_up, by, n, out);
}

}  // namespace skipserve::cpu
#endif  // HWY_ONCE
