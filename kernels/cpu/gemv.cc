#include "kernels/cpu/gemv.h"

#include <algorithm>

#include "hwy/cache_control.h"
#include "kernels/bf16.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/gemv.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace skipserve::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
namespace {

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

HWY_INLINE V LoadWeights(const float* p) { return hn::LoadU(D(), p); }
HWY_INLINE V LoadWeights(const hwy::bfloat16_t* p) {
  return hn::PromoteTo(D(), hn::LoadU(hn::Rebind<hwy::bfloat16_t, D>(), p));
}
float Scalar(const float* p) { return *p; }
float Scalar(const hwy::bfloat16_t* p) { return Bf16ToF32(*reinterpret_cast<const uint16_t*>(p)); }

// kM rows of a times kN rows of w, one accumulator per output.
template <int kM, int kN, class T>
HWY_INLINE void Tile(const float* HWY_RESTRICT a, int64_t a_stride, const T* HWY_RESTRICT w,
                     int64_t depth, float* HWY_RESTRICT out, int64_t out_stride) {
  const D d;
  const int64_t n = hn::Lanes(d);
  V acc[kM][kN];
  for (int i = 0; i < kM; ++i) {
    for (int j = 0; j < kN; ++j) acc[i][j] = hn::Zero(d);
  }
  int64_t k = 0;
  for (; k + n <= depth; k += n) {
    V wv[kN];
    for (int j = 0; j < kN; ++j) {
      const T* at = w + j * depth + k;
      hwy::Prefetch(at + kN * depth);  // the same place of the rows after these
      wv[j] = LoadWeights(at);
    }
    for (int i = 0; i < kM; ++i) {
      const V av = hn::LoadU(d, a + i * a_stride + k);
      for (int j = 0; j < kN; ++j) acc[i][j] = hn::MulAdd(av, wv[j], acc[i][j]);
    }
  }
  for (int i = 0; i < kM; ++i) {
    for (int j = 0; j < kN; ++j) {
      float sum = hn::GetLane(hn::SumOfLanes(d, acc[i][j]));
      for (int64_t t = k; t < depth; ++t) sum += a[i * a_stride + t] * Scalar(w + j * depth + t);
      out[i * out_stride + j] = sum;
    }
  }
}

// kM rows of a times `count` rows of w, as many at once as there are registers for.
template <int kM, int kN, class T>
void Rows(const float* a, int64_t a_stride, const T* w, int64_t count, int64_t depth, float* out,
          int64_t out_stride) {
  int64_t j = 0;
  for (; j + kN <= count; j += kN)
    Tile<kM, kN>(a, a_stride, w + j * depth, depth, out + j, out_stride);
  for (; j < count; ++j) Tile<kM, 1>(a, a_stride, w + j * depth, depth, out + j, out_stride);
}

template <class T>
void Columns(TensorView a, const T* w, int64_t begin, int64_t end, TensorView out) {
  for (int64_t n = begin; n < end; n += kGemvGroup) {
    const int64_t count = std::min(kGemvGroup, end - n);
    const T* rows = w + n * a.cols;
    int64_t i = 0;
    for (; i + 4 <= a.rows; i += 4) {
      Rows<4, 3>(a.data + i * a.stride, a.stride, rows, count, a.cols,
                 out.data + i * out.stride + n, out.stride);
    }
    const float* rest = a.data + i * a.stride;
    float* to = out.data + i * out.stride + n;
    if (a.rows - i == 3) Rows<3, 3>(rest, a.stride, rows, count, a.cols, to, out.stride);
    if (a.rows - i == 2) Rows<2, 4>(rest, a.stride, rows, count, a.cols, to, out.stride);
    if (a.rows - i == 1) Rows<1, 6>(rest, a.stride, rows, count, a.cols, to, out.stride);
  }
}

void RunGemv(TensorView a, const void* w, DType dtype, int64_t begin, int64_t end, TensorView out) {
  if (dtype == DType::kF32) {
    Columns(a, static_cast<const float*>(w), begin, end, out);
  } else {
    Columns(a, static_cast<const hwy::bfloat16_t*>(w), begin, end, out);
  }
}

}  // namespace
}  // namespace skipserve::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skipserve::cpu {

HWY_EXPORT(RunGemv);

void Gemv(TensorView a, const void* w, DType dtype, int64_t begin, int64_t end, TensorView out) {
  HWY_DYNAMIC_DISPATCH(RunGemv)(a, w, dtype, begin, end, out);
}

}  // namespace skipserve::cpu
#endif  // HWY_ONCE
