#include "kernels/cpu/native_bf16.h"

#include "kernels/cpu/intrinsics.h"
#include "kernels/cpu/row_kernels.h"
#include "kernels/ops.h"

namespace skipserve::cpu {
namespace {

#if defined(__x86_64__)
#define SKIPSERVE_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))

// 26 ns for 576 values in the cache, where integer operations take 78.
SKIPSERVE_BF16 void Round(const float* from, int64_t n, uint16_t* to) {
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const __m512bh pair =
        _mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + i + 16), _mm512_loadu_ps(from + i));
    _mm512_storeu_si512(to + i, (__m512i)pair);
  }
  if (i < n) RoundToBf16(from + i, n - i, to + i);
}

// Codes to floats by a table, whose index is the lowest four bits of a lane: no mask, no
// conversion.
SKIPSERVE_BF16 inline __m512 Widen(__m512i codes, __m512 table, __m512 scales, __m512 minima) {
  return _mm512_fmadd_ps(_mm512_permutexvar_ps(codes, table), scales, minima);
}

SKIPSERVE_BF16 inline __m512 LoadHalves(const uint16_t* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

SKIPSERVE_BF16 void WidenBlock(const FourBitWeights::Block& block, uint32_t* to) {
  constexpr int64_t kOutputs = FourBitWeights::kOutputs, kInputs = FourBitWeights::kInputs;
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
#else
void WidenBlock(const FourBitWeights::Block&, uint32_t*) {}
void Round(const float* from, int64_t n, uint16_t* to) { RoundToBf16(from, n, to); }
#endif

}  // namespace

void RoundToBf16Native(const float* from, int64_t n, uint16_t* to) {
  static const bool native = CpuHasFastBf16();
  (native ? &Round : &RoundToBf16)(from, n, to);
}

void WidenToBf16(const FourBitWeights& w, int64_t begin, int64_t end, uint32_t* to) {
  constexpr int64_t kBlockWords = FourBitWeights::kOutputs * FourBitWeights::kInputs / 2;
  for (const FourBitWeights::Block* block = w.Outputs(begin); block < w.Outputs(end); ++block) {
    WidenBlock(*block, to);
    to += kBlockWords;
  }
}

}  // namespace skipserve::cpu
