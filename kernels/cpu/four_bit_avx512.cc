// How AVX-512 reads weights of 4 bits: with VNNI for decode steps, with BF16 for prompts.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/by_fours.h"
#include "kernels/cpu/four_bit_kernels.h"
#include "kernels/cpu/tiled_weights.h"
#include "kernels/cpu/vnni.h"

namespace skipserve::cpu {

#if defined(__x86_64__)
#define SKIPSERVE_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl")))
namespace {

using Block = FourBitWeights::Block;
constexpr int64_t kOutputs = FourBitWeights::kOutputs;
constexpr int64_t kInputs = FourBitWeights::kInputs;
constexpr int64_t kVectors = kOutputs / 16;

SKIPSERVE_AVX512 inline __m512 LoadHalves(const uint16_t* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

SKIPSERVE_VNNI inline __m512i FourOf(const int8_t* codes) {
  int32_t word;
  std::memcpy(&word, codes, sizeof(word));
  return _mm512_set1_epi32(word);
}

template <int kM>
SKIPSERVE_VNNI void Outputs(const CodedRows& a, int64_t row, const FourBitWeights& w, int64_t block,
                            TensorView out) {
  const int64_t groups = w.input_blocks();
  const __m512i low = _mm512_set1_epi8(15);
  __m512 total[kM][kVectors];
  for (int i = 0; i < kM; ++i) {
    for (__m512& v : total[i]) v = _mm512_setzero_ps();
  }
  const Block* b = w.Outputs(block);
  for (int64_t group = 0; group < groups; ++group, ++b) {
    const int8_t* const codes = a.codes + row * w.k() + group * kInputs;
    for (int64_t v = 0; v < kVectors; ++v) {
      __m512i sums[kM];
      for (__m512i& s : sums) s = _mm512_setzero_si512();
      for (int64_t word = 0; word < kInputs / 8; ++word) {
        const __m512i words = _mm512_loadu_si512(b->codes[word] + 16 * v);
        const __m512i first = _mm512_and_si512(words, low);
        const __m512i second = _mm512_and_si512(_mm512_srli_epi16(words, 4), low);
        for (int i = 0; i < kM; ++i) {
          const int8_t* const x = codes + i * w.k() + 4 * word;
          AddFours(sums[i], first, FourOf(x));
          AddFours(sums[i], second, FourOf(x + kInputs / 2));
        }
      }
      const __m512 scales = LoadHalves(b->scales + 16 * v), minima = LoadHalves(b->minima + 16 * v);
      for (int i = 0; i < kM; ++i) {
        const int64_t at = (row + i) * groups + group;
        const __m512 scale = _mm512_mul_ps(scales, _mm512_set1_ps(a.scales[at]));
        total[i][v] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[i]), scale, total[i][v]);
        total[i][v] = _mm512_fmadd_ps(minima, _mm512_set1_ps(a.sums[at]), total[i][v]);
      }
    }
  }
  const int64_t first = block * kOutputs, count = std::min(kOutputs, w.n() - first);
  for (int i = 0; i < kM; ++i) {
    float* const to = out.data + (row + i) * out.stride + first;
    for (int64_t v = 0; v < kVectors; ++v) {
      const int64_t lanes = std::clamp<int64_t>(count - 16 * v, 0, 16);
      _mm512_mask_storeu_ps(to + 16 * v, static_cast<__mmask16>((1u << lanes) - 1), total[i][v]);
    }
  }
}

// Codes to floats by a table, whose index is the lowest four bits of a lane: no mask, no
// conversion.
SKIPSERVE_BF16 inline __m512 Widen(__m512i codes, __m512 table, __m512 scales, __m512 minima) {
  return _mm512_fmadd_ps(_mm512_permutexvar_ps(codes, table), scales, minima);
}

SKIPSERVE_BF16 void WidenBlock(const Block& block, uint32_t* to) {
  const __m512 table = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  // Of two vectors one behind the other, to pairs.
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i pairs =
      _mm512_or_si512(lanes, _mm512_slli_epi32(_mm512_add_epi32(lanes, _mm512_set1_epi32(16)), 16));
  for (int64_t output = 0; output < kOutputs; output += 16) {
    const __m512 scales = LoadHalves(block.scales + output);
    const __m512 minima = LoadHalves(block.minima + output);
    for (int64_t word = 0; word < kInputs / 8; ++word) {
      const __m512i codes = _mm512_loadu_si512(block.codes[word] + output);
      for (int pair = 0; pair < 4; ++pair) {
        const int shift = pair / 2 * 4 + pair % 2 * 16;  // low halves are the first 16 inputs
        const __m512 first = Widen(_mm512_srli_epi32(codes, shift), table, scales, minima);
        const __m512 second = Widen(_mm512_srli_epi32(codes, shift + 8), table, scales, minima);
        const auto both = (__m512i)_mm512_cvtne2ps_pbh(second, first);
        const int64_t row = pair / 2 * (kInputs / 4) + 2 * word + pair % 2;
        _mm512_storeu_si512(to + row * kOutputs + output, _mm512_permutexvar_epi16(pairs, both));
      }
    }
  }
}

}  // namespace

void VnniGemv(const CodedRows& a, const FourBitWeights& w, int64_t begin, int64_t end,
              TensorView out) {
  for (int64_t block = begin; block < end; ++block) {
    ByFours(a.rows, [&]<int kRows>(int64_t row) { Outputs<kRows>(a, row, w, block, out); });
  }
}

void WidenToBf16(const FourBitWeights& w, int64_t begin, int64_t end, uint32_t* to) {
  // What follows writes tiles of two inputs a word.
  static_assert(kOutputs == TiledWeights::kOutputs && kInputs == 2 * TiledWeights::kWords);
  for (const Block* block = w.Outputs(begin); block < w.Outputs(end); ++block) {
    WidenBlock(*block, to);
    to += kOutputs * kInputs / 2;
  }
}
#else
void VnniGemv(const CodedRows&, const FourBitWeights&, int64_t, int64_t, TensorView) {}
void WidenToBf16(const FourBitWeights&, int64_t, int64_t, uint32_t*) {}
#endif

}  // namespace skipserve::cpu
