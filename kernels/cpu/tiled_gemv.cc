#include "kernels/cpu/tiled_gemv.h"

#include <algorithm>

#include "kernels/cpu/by_fours.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/tiled_gemv.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace skipserve::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
namespace {

using D = hn::CappedTag<float, 16>;  // four vectors divide a block's 64 outputs
using V = hn::Vec<D>;
constexpr int64_t kOutputs = TiledWeights::kOutputs;
constexpr int64_t kVecs = 4;

// Value kPart of each word.
template <WeightType kType, int kPart, class W>
HWY_INLINE V Part(W words) {
  const D d;
  const hn::RebindToUnsigned<D> du;
  if constexpr (kType == WeightType::kInt8) {
    const hn::RebindToSigned<D> di;
    const auto top = hn::ShiftLeft<24 - 8 * kPart>(hn::BitCast(di, words));
    return hn::ConvertTo(d, hn::ShiftRight<24>(top));
  } else if constexpr (kPart == 0) {
    return hn::BitCast(d, hn::ShiftLeft<16>(words));
  } else {
    return hn::BitCast(d, hn::And(words, hn::Set(du, 0xFFFF0000u)));
  }
}

// acc += input kPart of a word by the outputs', unless the row has ended before it.
template <WeightType kType, int kPart, int kM, class W>
HWY_INLINE void AddPart(const float* HWY_RESTRICT a, int64_t stride, int64_t left,
                        const W (&words)[kVecs], V (&acc)[kM][kVecs]) {
  const D d;
  if (kPart >= left) return;
  V w[kVecs];
  for (int64_t c = 0; c < kVecs; ++c) w[c] = Part<kType, kPart>(words[c]);
  for (int i = 0; i < kM; ++i) {
    const V x = hn::Set(d, a[i * stride + kPart]);
    for (int64_t c = 0; c < kVecs; ++c) acc[i][c] = hn::MulAdd(x, w[c], acc[i][c]);
  }
}

// kM rows by kVecs vectors of outputs from `column` of a block on. `sums` [kM, kOutputs].
template <WeightType kType, int kM>
HWY_INLINE void Columns(const float* HWY_RESTRICT a, int64_t stride, int64_t k,
                        const uint32_t* HWY_RESTRICT w, float* HWY_RESTRICT sums) {
  const D d;
  const hn::RebindToUnsigned<D> du;
  const int64_t n = hn::Lanes(d);
  V acc[kM][kVecs];
  for (int i = 0; i < kM; ++i) {
    for (V& v : acc[i]) v = hn::Zero(d);
  }
  constexpr int64_t kPerWord = kType == WeightType::kInt8 ? 4 : 2;
  for (int64_t j = 0; j < k; j += kPerWord, w += kOutputs) {
    hn::Vec<decltype(du)> words[kVecs];
    for (int64_t c = 0; c < kVecs; ++c) words[c] = hn::LoadU(du, w + c * n);
    AddPart<kType, 0, kM>(a + j, stride, k - j, words, acc);
    AddPart<kType, 1, kM>(a + j, stride, k - j, words, acc);
    if constexpr (kPerWord == 4) {
      AddPart<kType, 2, kM>(a + j, stride, k - j, words, acc);
      AddPart<kType, 3, kM>(a + j, stride, k - j, words, acc);
    }
  }
  for (int i = 0; i < kM; ++i) {
    for (int64_t c = 0; c < kVecs; ++c) hn::StoreU(acc[i][c], d, sums + i * kOutputs + c * n);
  }
}

template <WeightType kType, int kM>
void Block(TensorView a, int64_t row, const TiledWeights& w, int64_t block, TensorView out) {
  float sums[kM * kOutputs];
  const int64_t step = kVecs * static_cast<int64_t>(hn::Lanes(D()));
  for (int64_t column = 0; column < kOutputs; column += step) {
    Columns<kType, kM>(a.data + row * a.stride, a.stride, a.cols, w.Outputs(block) + column,
                       sums + column);
  }
  const int64_t first = block * kOutputs, count = std::min(kOutputs, w.n() - first);
  for (int i = 0; i < kM; ++i) {
    float* const to = out.data + (row + i) * out.stride + first;
    for (int64_t j = 0; j < count; ++j) {
      to[j] = sums[i * kOutputs + j] * (kType == WeightType::kInt8 ? w.scales()[first + j] : 1.0f);
    }
  }
}

template <WeightType kType>
void RunAs(TensorView a, const TiledWeights& w, int64_t begin, int64_t end, TensorView out) {
  for (int64_t block = begin; block < end; ++block) {
    ByFours(a.rows, [&]<int kM>(int64_t row) { Block<kType, kM>(a, row, w, block, out); });
  }
}

template <WeightType kType, int kPart, class W>
HWY_INLINE void StorePart(W words, V scale, int64_t left, float* HWY_RESTRICT to) {
  const D d;
  if (kPart >= left) return;
  V x = Part<kType, kPart>(words);
  if constexpr (kType == WeightType::kInt8) x = hn::Mul(x, scale);
  hn::StoreU(x, d, to);
}

template <WeightType kType>
void WidenAs(const TiledWeights& w, int64_t begin, int64_t end, float* HWY_RESTRICT to) {
  const D d;
  const hn::RebindToUnsigned<D> du;
  constexpr int64_t kPerWord = kType == WeightType::kInt8 ? 4 : 2;
  const int64_t n = hn::Lanes(d), stride = kOutputs * (end - begin);
  for (int64_t block = begin; block < end; ++block, to += kOutputs) {
    for (int64_t column = 0; column < kOutputs; column += n) {
      const uint32_t* from = w.Outputs(block) + column;
      float* row = to + column;
      V scale = hn::Zero(d);
      if constexpr (kType == WeightType::kInt8) {
        scale = hn::LoadU(d, w.scales() + block * kOutputs + column);
      }
      for (int64_t j = 0; j < w.k(); j += kPerWord, from += kOutputs, row += kPerWord * stride) {
        const auto words = hn::LoadU(du, from);
        StorePart<kType, 0>(words, scale, w.k() - j, row);
        StorePart<kType, 1>(words, scale, w.k() - j, row + stride);
        if constexpr (kPerWord == 4) {
          StorePart<kType, 2>(words, scale, w.k() - j, row + 2 * stride);
          StorePart<kType, 3>(words, scale, w.k() - j, row + 3 * stride);
        }
      }
    }
  }
}

void Widen(const TiledWeights& w, int64_t begin, int64_t end, float* to) {
  if (w.type() == WeightType::kBF16) {
    WidenAs<WeightType::kBF16>(w, begin, end, to);
  } else {
    WidenAs<WeightType::kInt8>(w, begin, end, to);
  }
}

void Run(TensorView a, const TiledWeights& w, int64_t begin, int64_t end, TensorView out) {
  if (w.type() == WeightType::kBF16) {
    RunAs<WeightType::kBF16>(a, w, begin, end, out);
  } else {
    RunAs<WeightType::kInt8>(a, w, begin, end, out);
  }
}

}  // namespace
}  // namespace skipserve::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skipserve::cpu {

HWY_EXPORT(Run);
HWY_EXPORT(Widen);

void TiledGemv(TensorView a, const TiledWeights& w, int64_t begin, int64_t end, TensorView out) {
  HWY_DYNAMIC_DISPATCH(Run)(a, w, begin, end, out);
}

void WidenTiles(const TiledWeights& w, int64_t begin, int64_t end, float* to) {
  HWY_DYNAMIC_DISPATCH(Widen)(w, begin, end, to);
}

}  // namespace skipserve::cpu
#endif  // HWY_ONCE
