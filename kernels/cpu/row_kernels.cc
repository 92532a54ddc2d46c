#include "kernels/cpu/row_kernels.h"

#include <cmath>

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

void SwiGlu(const float* gate, const float* up, int64_t count, float* out) {
  const D d;
  const int64_t n = hn::Lanes(d);
  int64_t i = 0;
  for (; i + n <= count; i += n) {
    hn::StoreU(SwiGluOf(d, hn::LoadU(d, gate + i), hn::LoadU(d, up + i)), d, out + i);
  }
  if (i == count) return;
  HWY_ALIGN float tail[2][hn::MaxLanes(d)] = {};
  for (int64_t j = i; j < count; ++j) tail[0][j - i] = gate[j], tail[1][j - i] = up[j];
  hn::Store(SwiGluOf(d, hn::Load(d, tail[0]), hn::Load(d, tail[1])), d, tail[0]);
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

}  // namespace skipserve::cpu
#endif  // HWY_ONCE
