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
  for (int64_t begin = 0; begin < count; begin += kGroup) {
    const int64_t n = std::min(kGroup, count - begin);
    const Range range = RangeOf(d, from + begin, n);
    const uint16_t scale = scales[begin / kGroup] = KvScale(range.most + range.bad);
    const float by = KvInverse(scale);
    if (by == 0.0f) {  // of numbers that are not finite no code is one
      std::fill_n(codes + begin, n, int8_t{0});
    } else {
      StoreCodes(d, from + begin, n, by, codes + begin);
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
