#include "kernels/cpu/row_kernels.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/bf16.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/row_kernels.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/cpu/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skipserve::cpu::HWY_NAMESPACE {
namespace {

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

float Dot(const float* a, const float* b, int64_t count) {
  const D d;
  const int64_t n = hn::Lanes(d);
  V s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  int64_t i = 0;
  for (; i + 4 * n <= count; i += 4 * n) {
    s0 = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), s0);
    s1 = hn::MulAdd(hn::LoadU(d, a + i + n), hn::LoadU(d, b + i + n), s1);
    s2 = hn::MulAdd(hn::LoadU(d, a + i + 2 * n), hn::LoadU(d, b + i + 2 * n), s2);
    s3 = hn::MulAdd(hn::LoadU(d, a + i + 3 * n), hn::LoadU(d, b + i + 3 * n), s3);
  }
  for (; i + n <= count; i += n) s0 = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), s0);
  float sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3))));
  for (; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

void Norm(const float* x, const float* gain, int64_t count, float eps, float* out) {
  const D d;
  const int64_t n = hn::Lanes(d);
  const float scale = 1.0f / std::sqrt(Dot(x, x, count) / static_cast<float>(count) + eps);
  const V s = hn::Set(d, scale);
  int64_t i = 0;
  for (; i + n <= count; i += n) {
    hn::StoreU(hn::Mul(hn::Mul(hn::LoadU(d, x + i), s), hn::LoadU(d, gain + i)), d, out + i);
  }
  for (; i < count; ++i) out[i] = x[i] * scale * gain[i];
}

template <class Tag>
HWY_INLINE void RopeHead(Tag d, float* x, int64_t half, const float* cos, const float* sin) {
  for (int64_t i = 0; i < half; i += hn::Lanes(d)) {
    const auto a = hn::LoadU(d, x + i);
    const auto b = hn::LoadU(d, x + half + i);
    const auto c = hn::LoadU(d, cos + i);
    const auto s = hn::LoadU(d, sin + i);
    hn::StoreU(hn::NegMulAdd(b, s, hn::Mul(a, c)), d, x + i);
    hn::StoreU(hn::MulAdd(a, s, hn::Mul(b, c)), d, x + half + i);
  }
}

void Rope(float* x, int64_t num_heads, int64_t half, const float* cos, const float* sin) {
  const D wide;
  const hn::CappedTag<float, 4> narrow;  // head_dim is a multiple of 8
  if (half % static_cast<int64_t>(hn::Lanes(wide)) == 0) {
    for (int64_t h = 0; h < num_heads; ++h) RopeHead(wide, x + h * 2 * half, half, cos, sin);
  } else {
    for (int64_t h = 0; h < num_heads; ++h) RopeHead(narrow, x + h * 2 * half, half, cos, sin);
  }
}

HWY_INLINE V SwiGluVector(V gate, V up) {
  const D d;
  const V one = hn::Set(d, 1.0f);
  return hn::Mul(hn::Div(gate, hn::Add(one, Exp(d, hn::Neg(gate)))), up);
}

void SwiGlu(const float* gate, const float* up, int64_t count, float* out) {
  const D d;
  const int64_t n = hn::Lanes(d);
  int64_t i = 0;
  for (; i + n <= count; i += n) {
    hn::StoreU(SwiGluVector(hn::LoadU(d, gate + i), hn::LoadU(d, up + i)), d, out + i);
  }
  if (i == count) return;
  HWY_ALIGN float tail[2][hn::MaxLanes(d)] = {};
  for (int64_t j = i; j < count; ++j) tail[0][j - i] = gate[j], tail[1][j - i] = up[j];
  hn::Store(SwiGluVector(hn::Load(d, tail[0]), hn::Load(d, tail[1])), d, tail[0]);
  for (int64_t j = i; j < count; ++j) out[j] = tail[0][j - i];
}

void Add(float* x, const float* delta, int64_t count) {
  const D d;
  const int64_t n = hn::Lanes(d);
  int64_t i = 0;
  for (; i + n <= count; i += n)
    hn::StoreU(hn::Add(hn::LoadU(d, x + i), hn::LoadU(d, delta + i)), d, x + i);
  for (; i < count; ++i) x[i] += delta[i];
}

void Multiply(const float* a, const float* b, int64_t count, float* out) {
  const D d;
  const int64_t n = hn::Lanes(d);
  int64_t i = 0;
  for (; i + n <= count; i += n)
    hn::StoreU(hn::Mul(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, out + i);
  for (; i < count; ++i) out[i] = a[i] * b[i];
}

void Round(const float* from, int64_t count, uint16_t* to) {
  const D d;
  const hn::RebindToSigned<D> di;
  const hn::RebindToUnsigned<D> du;
  const hn::Rebind<uint16_t, D> d16;
  const int64_t n = hn::Lanes(d);
  int64_t i = 0;
  for (; i + n <= count; i += n) {
    const V x = hn::LoadU(d, from + i);
    const auto bits = hn::BitCast(du, x);
    const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1u));
    const auto rounded = hn::ShiftRight<16>(hn::Add(hn::Add(bits, hn::Set(du, 0x7FFFu)), odd));
    const auto nan = hn::Or(hn::ShiftRight<16>(bits), hn::Set(du, 0x40u));
    const auto kept = hn::IfThenElse(hn::RebindMask(du, hn::IsNaN(x)), nan, rounded);
    hn::StoreU(hn::DemoteTo(d16, hn::BitCast(di, kept)), d16, to + i);
  }
  for (; i < count; ++i) to[i] = F32ToBf16(from[i]);
}

void Expand(const uint16_t* from, int64_t count, float* to) {
  const D d;
  const hn::Rebind<hwy::bfloat16_t, D> db;
  const auto* bf = reinterpret_cast<const hwy::bfloat16_t*>(from);
  const int64_t n = hn::Lanes(d);
  int64_t i = 0;
  for (; i + n <= count; i += n) hn::StoreU(hn::PromoteTo(d, hn::LoadU(db, bf + i)), d, to + i);
  for (; i < count; ++i) to[i] = Bf16ToF32(from[i]);
}

// x = H x / sqrt(order), in place and its own inverse: H is the Walsh-Hadamard matrix of the
// largest order up to 64 that divides `count` into runs of at least 16; each run's elements go with
// those of the same place in the others.
void Rotate(float* x, int64_t count) {
  const D d;
  const int64_t n = hn::Lanes(d);
  int64_t order = 1;
  while (order < 64 && count % (2 * order) == 0 && count / (2 * order) >= 16) order *= 2;
  if (order == 1) return;
  const float norm = 1.0f / std::sqrt(static_cast<float>(order));
  for (int64_t half = count / 2; half >= count / order; half /= 2) {
    const float scale = half == count / order ? norm : 1.0f;
    const V by = hn::Set(d, scale);
    for (int64_t begin = 0; begin < count; begin += 2 * half) {
      float* a = x + begin;
      float* b = a + half;
      int64_t i = 0;
      for (; i + n <= half; i += n) {
        const V u = hn::LoadU(d, a + i), v = hn::LoadU(d, b + i);
        hn::StoreU(hn::Mul(hn::Add(u, v), by), d, a + i);
        hn::StoreU(hn::Mul(hn::Sub(u, v), by), d, b + i);
      }
      for (; i < half; ++i) {
        const float u = a[i], v = b[i];
        a[i] = (u + v) * scale;
        b[i] = (u - v) * scale;
      }
    }
  }
}

constexpr float kTiny = 1e-30f;  // a row of less is a row of zeros

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

HWY_EXPORT(Norm);
HWY_EXPORT(Rope);
HWY_EXPORT(SwiGlu);
HWY_EXPORT(Add);
HWY_EXPORT(Dot);
HWY_EXPORT(Multiply);
HWY_EXPORT(Round);
HWY_EXPORT(Expand);
HWY_EXPORT(Quantize);
HWY_EXPORT(Rotate);
HWY_EXPORT(Scale);

void RmsNormRow(const float* x, const float* gain, int64_t n, float eps, float* out) {
  HWY_DYNAMIC_DISPATCH(Norm)(x, gain, n, eps, out);
}
void RopeRow(float* x, int64_t num_heads, int64_t half, const float* cos, const float* sin) {
  HWY_DYNAMIC_DISPATCH(Rope)(x, num_heads, half, cos, sin);
}
void SwiGluRow(const float* gate, const float* up, int64_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(SwiGlu)(gate, up, n, out);
}
void AddRow(float* x, const float* delta, int64_t n) { HWY_DYNAMIC_DISPATCH(Add)(x, delta, n); }
float DotRow(const float* a, const float* b, int64_t n) {
  return HWY_DYNAMIC_DISPATCH(Dot)(a, b, n);
}
void MultiplyRow(const float* a, const float* b, int64_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(Multiply)(a, b, n, out);
}
void RoundToBf16(const float* from, int64_t n, uint16_t* to) {
  HWY_DYNAMIC_DISPATCH(Round)(from, n, to);
}
void ExpandBf16(const uint16_t* from, int64_t n, float* to) {
  HWY_DYNAMIC_DISPATCH(Expand)(from, n, to);
}
float QuantizeRow(const float* from, int64_t n, int8_t* to) {
  thread_local std::vector<float> rotated;
  rotated.assign(from, from + n);
  RotateRow(rotated.data(), n);
  return HWY_DYNAMIC_DISPATCH(Quantize)(rotated.data(), n, to);
}
void RotateRow(float* x, int64_t n) { HWY_DYNAMIC_DISPATCH(Rotate)(x, n); }
void ScaleRow(float* x, const float* scales, float by, int64_t n) {
  HWY_DYNAMIC_DISPATCH(Scale)(x, scales, by, n);
}

}  // namespace skipserve::cpu
#endif  // HWY_ONCE
