#include <algorithm>

#include "kernels/cpu/by_fours.h"
#include "kernels/cpu/tiled_gemv.h"
#include "kernels/cpu/vnni.h"

namespace skipserve::cpu {

#if defined(__x86_64__)
namespace {

constexpr int64_t kOutputs = TiledWeights::kOutputs;
constexpr int64_t kVectors = kOutputs / 16;

template <int kM>
SKIPSERVE_VNNI void Outputs(const TiledRows& a, int64_t row, const TiledWeights& w, int64_t block,
                            TensorView out) {
  const int64_t words = w.input_blocks() * TiledWeights::kWords;
  const auto* const codes = static_cast<const int32_t*>(a.values) + row * words;
  const uint32_t* weights = w.Outputs(block);
  __m512i sums[kM][kVectors];
  for (auto& of_row : sums) {
    for (__m512i& s : of_row) s = _mm512_setzero_si512();
  }
  for (int64_t word = 0; word < words; ++word, weights += kOutputs) {
    __m512i four[kVectors];
    for (int64_t v = 0; v < kVectors; ++v) four[v] = _mm512_loadu_si512(weights + 16 * v);
    for (int i = 0; i < kM; ++i) {
      const __m512i x = _mm512_set1_epi32(codes[i * words + word]);
      for (int64_t v = 0; v < kVectors; ++v) {
        AddFours(sums[i][v], x, four[v]);
      }
    }
  }
  const int64_t first = block * kOutputs, count = std::min(kOutputs, w.n() - first);
  for (int64_t v = 0; v < kVectors; ++v) {
    const int64_t lanes = std::clamp<int64_t>(count - 16 * v, 0, 16);
    const auto mask = static_cast<__mmask16>((1u << lanes) - 1);
    const __m512i offsets = _mm512_loadu_si512(w.offsets() + first + 16 * v);
    const __m512 scales = _mm512_loadu_ps(w.scales() + first + 16 * v);
    for (int i = 0; i < kM; ++i) {
      const __m512 scale = _mm512_mul_ps(_mm512_set1_ps(a.scales[row + i]), scales);
      const __m512 sum = _mm512_cvtepi32_ps(_mm512_sub_epi32(sums[i][v], offsets));
      _mm512_mask_storeu_ps(out.data + (row + i) * out.stride + first + 16 * v, mask,
                            _mm512_mul_ps(sum, scale));
    }
  }
}

}  // namespace

void VnniInt8Gemv(const TiledRows& a, const TiledWeights& w, int64_t begin, int64_t end,
                  TensorView out) {
  for (int64_t block = begin; block < end; ++block) {
    ByFours(a.rows, [&]<int kRows>(int64_t row) { Outputs<kRows>(a, row, w, block, out); });
  }
}
#else
void VnniInt8Gemv(const TiledRows&, const TiledWeights&, int64_t, int64_t, TensorView) {}
#endif

}  // namespace skipserve::cpu
