#include <algorithm>

#include "kernels/cpu/four_bit_kernels.h"
#include "kernels/cpu/intrinsics.h"
#include "oneapi/dnnl/dnnl.hpp"

namespace skipserve::cpu {

#if defined(__x86_64__)
#define SKIPSERVE_VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))
namespace {

using Block = FourBitWeights::Block;
constexpr int64_t kOutputs = FourBitWeights::kOutputs;
constexpr int64_t kInputs = FourBitWeights::kInputs;
constexpr int64_t kVectors = kOutputs / 16;

SKIPSERVE_VNNI inline __m512 LoadHalves(const uint16_t* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

template <int kM>
SKIPSERVE_VNNI void Outputs(const CodedRows& a, int64_t row, const FourBitWeights& w, int64_t block,
                            TensorView out) {
  const int64_t runs = w.input_blocks();
  const __m512i low = _mm512_set1_epi8(15);
  __m512 total[kM][kVectors];
  for (int i = 0; i < kM; ++i) {
    for (__m512& v : total[i]) v = _mm512_setzero_ps();
  }
  const Block* b = w.Outputs(block);
  for (int64_t run = 0; run < runs; ++run, ++b) {
    const auto* const codes =
        reinterpret_cast<const int32_t*>(a.codes + row * w.k() + run * kInputs);
    for (int64_t v = 0; v < kVectors; ++v) {
      __m512i sums[kM];
      for (__m512i& s : sums) s = _mm512_setzero_si512();
      for (int64_t word = 0; word < kInputs / 8; ++word) {
        const __m512i words = _mm512_loadu_si512(b->codes[word] + 16 * v);
        const __m512i first = _mm512_and_si512(words, low);
        const __m512i second = _mm512_and_si512(_mm512_srli_epi16(words, 4), low);
        for (int i = 0; i < kM; ++i) {
          const int32_t* const x = codes + i * w.k() / 4 + word;
          sums[i] = _mm512_dpbusd_epi32(sums[i], first, _mm512_set1_epi32(x[0]));
          sums[i] = _mm512_dpbusd_epi32(sums[i], second, _mm512_set1_epi32(x[kInputs / 8]));
        }
      }
      const __m512 scales = LoadHalves(b->scales + 16 * v), minima = LoadHalves(b->minima + 16 * v);
      for (int i = 0; i < kM; ++i) {
        const int64_t at = (row + i) * runs + run;
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

}  // namespace

bool VnniReady() {
  const int isa = static_cast<int>(dnnl::get_effective_cpu_isa());
  const int vnni = static_cast<int>(dnnl::cpu_isa::avx512_core_vnni);
  return (isa & vnni) == vnni;
}

void VnniGemv(const CodedRows& a, const FourBitWeights& w, int64_t begin, int64_t end,
              TensorView out) {
  for (int64_t block = begin; block < end; ++block) {
    int64_t row = 0;
    for (; row + 4 <= a.rows; row += 4) Outputs<4>(a, row, w, block, out);
    if (a.rows - row == 3) Outputs<3>(a, row, w, block, out);
    if (a.rows - row == 2) Outputs<2>(a, row, w, block, out);
    if (a.rows - row == 1) Outputs<1>(a, row, w, block, out);
  }
}
#else
bool VnniReady() { return false; }
void VnniGemv(const CodedRows&, const FourBitWeights&, int64_t, int64_t, TensorView) {}
#endif

}  // namespace skipserve::cpu
