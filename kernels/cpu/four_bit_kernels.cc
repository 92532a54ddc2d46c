#include "kernels/cpu/four_bit_kernels.h"

#include <algorithm>

#include "kernels/cpu/by_fours.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/four_bit_kernels.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace skipserve::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
namespace {

using D = hn::CappedTag<float, 16>;  // four vectors divide a block's 64 outputs
using V = hn::Vec<D>;
using DU = hn::RebindToUnsigned<D>;
using Block = FourBitWeights::Block;
constexpr int64_t kOutputs = FourBitWeights::kOutputs;
constexpr int64_t kInputs = FourBitWeights::kInputs;

HWY_INLINE V LoadHalves(const uint16_t* from) {
  const hn::Rebind<hwy::float16_t, D> d16;
  return hn::PromoteTo(D(), hn::LoadU(d16, reinterpret_cast<const hwy::float16_t*>(from)));
}

// Half-byte kPart of each word, from the lowest on.
template <int kPart>
HWY_INLINE V Codes(hn::Vec<DU> words) {
  const hn::RebindToSigned<D> di;
  const auto code = hn::And(hn::ShiftRight<4 * kPart>(words), hn::Set(DU(), 15u));
  return hn::ConvertTo(D(), hn::BitCast(di, code));
}

// The input of a group whose codes those are.
template <int kPart>
int64_t InputOf(int64_t word) {
  return kPart % 2 * (kInputs / 2) + 4 * word + kPart / 2;
}

// sums[i] += a[i]'s codes in half-byte kPart of word `word`, by the outputs'. Whole numbers, so
// exact.
template <int kPart, int kM>
HWY_INLINE void AddPart(const int8_t* a, int64_t stride, int64_t word, hn::Vec<DU> words,
                        V (&sums)[kM]) {
  const int64_t input = InputOf<kPart>(word);
  const V codes = Codes<kPart>(words);
  for (int i = 0; i < kM; ++i) {
    sums[i] = hn::MulAdd(hn::Set(D(), static_cast<float>(a[i * stride + input])), codes, sums[i]);
  }
}

template <int kM>
void Outputs(const CodedRows& a, int64_t row, const FourBitWeights& w, int64_t block,
             TensorView out) {
  const D d;
  const int64_t n = hn::Lanes(d), groups = w.input_blocks();
  const int64_t first = block * kOutputs, count = std::min(kOutputs, w.n() - first);
  HWY_ALIGN float all[kM][kOutputs];
  for (int64_t column = 0; column < kOutputs; column += n) {
    V total[kM];
    for (V& v : total) v = hn::Zero(d);
    for (int64_t group = 0; group < groups; ++group) {
      const Block& b = w.Outputs(block)[group];
      const int8_t* const codes = a.codes + row * w.k() + group * kInputs;
      V sums[kM];
      for (V& v : sums) v = hn::Zero(d);
      for (int64_t word = 0; word < kInputs / 8; ++word) {
        const auto words = hn::LoadU(DU(), b.codes[word] + column);
        AddPart<0>(codes, w.k(), word, words, sums);
        AddPart<1>(codes, w.k(), word, words, sums);
        AddPart<2>(codes, w.k(), word, words, sums);
        AddPart<3>(codes, w.k(), word, words, sums);
        AddPart<4>(codes, w.k(), word, words, sums);
        AddPart<5>(codes, w.k(), word, words, sums);
        AddPart<6>(codes, w.k(), word, words, sums);
        AddPart<7>(codes, w.k(), word, words, sums);
      }
      const V scales = LoadHalves(b.scales + column), minima = LoadHalves(b.minima + column);
      for (int i = 0; i < kM; ++i) {
        const int64_t at = (row + i) * groups + group;
        total[i] = hn::MulAdd(sums[i], hn::Mul(scales, hn::Set(d, a.scales[at])), total[i]);
        total[i] = hn::MulAdd(minima, hn::Set(d, a.sums[at]), total[i]);
      }
    }
    for (int i = 0; i < kM; ++i) hn::StoreU(total[i], d, all[i] + column);
  }
  for (int i = 0; i < kM; ++i) {
    std::copy_n(all[i], count, out.data + (row + i) * out.stride + first);
  }
}

void Run(const CodedRows& a, const FourBitWeights& w, int64_t begin, int64_t end, TensorView out) {
  for (int64_t block = begin; block < end; ++block) {
    ByFours(a.rows, [&]<int kM>(int64_t row) { Outputs<kM>(a, row, w, block, out); });
  }
}

// Half-byte kPart of a word's outputs, as values, to its input's row.
template <int kPart>
HWY_INLINE void StorePart(hn::Vec<DU> words, int64_t word, V scales, V minima, int64_t stride,
                          float* HWY_RESTRICT to) {
  const V value = hn::Add(hn::Mul(scales, Codes<kPart>(words)), minima);
  hn::StoreU(value, D(), to + InputOf<kPart>(word) * stride);
}

void Widen(const FourBitWeights& w, int64_t begin, int64_t end, float* HWY_RESTRICT to) {
  const int64_t n = hn::Lanes(D()), stride = kOutputs * (end - begin);
  for (int64_t block = begin; block < end; ++block, to += kOutputs) {
    for (int64_t group = 0; group < w.input_blocks(); ++group) {
      const Block& b = w.Outputs(block)[group];
      for (int64_t column = 0; column < kOutputs; column += n) {
        const V scales = LoadHalves(b.scales + column), minima = LoadHalves(b.minima + column);
        float* const rows = to + group * kInputs * stride + column;
        for (int64_t word = 0; word < kInputs / 8; ++word) {
          const auto words = hn::LoadU(DU(), b.codes[word] + column);
          StorePart<0>(words, word, scales, minima, stride, rows);
          StorePart<1>(words, word, scales, minima, stride, rows);
          StorePart<2>(words, word, scales, minima, stride, rows);
          StorePart<3>(words, word, scales, minima, stride, rows);
          StorePart<4>(words, word, scales, minima, stride, rows);
          StorePart<5>(words, word, scales, minima, stride, rows);
          StorePart<6>(words, word, scales, minima, stride, rows);
          StorePart<7>(words, word, scales, minima, stride, rows);
        }
      }
    }
  }
}

}  // namespace
}  // namespace skipserve::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skipserve::cpu {

HWY_EXPORT(Run);
HWY_EXPORT(Widen);

void FourBitGemv(const CodedRows& a, const FourBitWeights& w, int64_t begin, int64_t end,
                 TensorView out) {
  HWY_DYNAMIC_DISPATCH(Run)(a, w, begin, end, out);
}

void WidenToF32(const FourBitWeights& w, int64_t begin, int64_t end, float* to) {
  HWY_DYNAMIC_DISPATCH(Widen)(w, begin, end, to);
}

}  // namespace skipserve::cpu
#endif  // HWY_ONCE
