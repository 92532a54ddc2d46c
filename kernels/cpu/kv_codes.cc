#include "kernels/cpu/kv_codes.h"

#include <algorithm>

#include "kernels/kv_codes.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/kv_codes.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/cpu/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skipserve::cpu::HWY_NAMESPACE {
namespace {

constexpr int64_t kGroup = KvLayout::kGroup;
using D = hn::CappedTag<float, 8>;  // divides every head_dim
using V = hn::Vec<D>;

void Encode(const float* from, int64_t count, int8_t* codes, uint16_t* scales) {
  const D d;
  const hn::Rebind<int8_t, D> d8;
  const hn::Rebind<int16_t, D> d16;
  const int64_t n = hn::Lanes(d);
  for (int64_t begin = 0; begin < count; begin += kGroup) {
    const int64_t end = std::min(count, begin + kGroup);
    V most = hn::Zero(d), bad = hn::Zero(d);
    for (int64_t i = begin; i < end; i += n) {
      const V x = hn::LoadU(d, from + i);
      most = hn::Max(most, hn::Abs(x));
      bad = hn::MulAdd(x, hn::Zero(d), bad);
    }
    const uint16_t scale =
        KvScale(hn::GetLane(hn::MaxOfLanes(d, most)) + hn::GetLane(hn::SumOfLanes(d, bad)));
    scales[begin / kGroup] = scale;
    const float by = KvInverse(scale);
    if (by == 0.0f) {
      std::fill(codes + begin, codes + end, int8_t{0});
      continue;
    }
    for (int64_t i = begin; i < end; i += n) {
      const auto code = hn::NearestInt(hn::Mul(hn::LoadU(d, from + i), hn::Set(d, by)));
      hn::StoreU(hn::DemoteTo(d8, hn::DemoteTo(d16, code)), d8, codes + i);
    }
  }
}

void Expand(const int8_t* codes, const uint16_t* scales, int64_t count, float* to) {
  const D d;
  const hn::Rebind<int8_t, D> d8;
  const hn::RebindToSigned<D> di;
  const int64_t n = hn::Lanes(d);
  for (int64_t i = 0; i < count; i += n) {
    const V code = hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(d8, codes + i)));
    hn::StoreU(hn::Mul(code, hn::Set(d, Bf16ToF32(scales[i / kGroup]))), d, to + i);
  }
}

}  // namespace
}  // namespace skipserve::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skipserve::cpu {

HWY_EXPORT(Encode);
HWY_EXPORT(Expand);

void EncodeKv(const float* from, int64_t n, int8_t* codes, uint16_t* scales) {
  HWY_DYNAMIC_DISPATCH(Encode)(from, n, codes, scales);
}

void ExpandKv(const int8_t* codes, const uint16_t* scales, int64_t n, float* to) {
  HWY_DYNAMIC_DISPATCH(Expand)(codes, scales, n, to);
}

}  // namespace skipserve::cpu
#endif  // HWY_ONCE
