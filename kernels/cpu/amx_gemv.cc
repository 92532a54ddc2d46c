#include <algorithm>

#include "kernels/cpu/amx.h"
#include "kernels/cpu/tiled_gemv.h"

namespace skipserve::cpu {

#ifdef SKIPSERVE_HAS_AMX
namespace {

constexpr int64_t kOutputs = TiledWeights::kOutputs;
constexpr int64_t kBlockWords = TiledWeights::kBlockBytes / sizeof(uint32_t);
constexpr int64_t kAhead = 2;  // input blocks that are fetched before they are needed

// sums [16, 64] = 16 rows of a by 64 outputs, float32 or int32. `a` in words, `stride` of them a
// row.
template <WeightType kType>
SKIPSERVE_AMX void Block(const uint32_t* a, int64_t stride, const uint32_t* w, int64_t blocks,
                         void* sums) {
  constexpr int64_t kWordRow = kOutputs * sizeof(uint32_t);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t b = 0; b < blocks; ++b, a += TiledWeights::kWords, w += kBlockWords) {
    for (int64_t i = 0; i < kBlockWords; i += 16) {
      _mm_prefetch(reinterpret_cast<const char*>(w + kAhead * kBlockWords + i), _MM_HINT_T0);
    }
    _tile_loadd(4, a, stride * sizeof(uint32_t));
    _tile_loadd(5, w, kWordRow);
    _tile_loadd(6, w + 16, kWordRow);
    if constexpr (kType == WeightType::kBF16) {
      _tile_dpbf16ps(0, 4, 5);
      _tile_loadd(7, w + 32, kWordRow);
      _tile_dpbf16ps(1, 4, 6);
      _tile_loadd(5, w + 48, kWordRow);
      _tile_dpbf16ps(2, 4, 7);
      _tile_dpbf16ps(3, 4, 5);
    } else {
      _tile_dpbssd(0, 4, 5);
      _tile_loadd(7, w + 32, kWordRow);
      _tile_dpbssd(1, 4, 6);
      _tile_loadd(5, w + 48, kWordRow);
      _tile_dpbssd(2, 4, 7);
      _tile_dpbssd(3, 4, 5);
    }
  }
  auto* const to = static_cast<uint32_t*>(sums);
  _tile_stored(0, to, kWordRow);
  _tile_stored(1, to + 16, kWordRow);
  _tile_stored(2, to + 32, kWordRow);
  _tile_stored(3, to + 48, kWordRow);
}

template <WeightType kType>
SKIPSERVE_AMX void Run(const TiledRows& a, const TiledWeights& w, int64_t begin, int64_t end,
                       TensorView out) {
  const TileConfig config(std::min(a.rows, kAmxRows));
  _tile_loadconfig(&config);
  alignas(64) float sums[kAmxRows * kOutputs];
  const int64_t stride = w.input_blocks() * TiledWeights::kWords;
  const auto* const values = static_cast<const uint32_t*>(a.values);
  for (int64_t block = begin; block < end; ++block) {
    const int64_t count = std::min(kOutputs, w.n() - block * kOutputs);
    for (int64_t first = 0; first < a.rows; first += kAmxRows) {
      Block<kType>(values + first * stride, stride, w.Outputs(block), w.input_blocks(), sums);
      for (int64_t i = 0; i < std::min(kAmxRows, a.rows - first); ++i) {
        float* const row = sums + i * kOutputs;
        if constexpr (kType == WeightType::kInt8) {
          const __m512 by = _mm512_set1_ps(a.scales[first + i]);
          for (int64_t j = 0; j < kOutputs; j += 16) {
            const __m512 scale =
                _mm512_mul_ps(by, _mm512_loadu_ps(w.scales() + block * kOutputs + j));
            const __m512 sum = _mm512_cvtepi32_ps(_mm512_load_si512(row + j));
            _mm512_store_ps(row + j, _mm512_mul_ps(sum, scale));
          }
        }
        std::copy_n(row, count, out.data + (first + i) * out.stride + block * kOutputs);
      }
    }
  }
  _tile_release();
}

}  // namespace

void AmxGemv(const TiledRows& a, const TiledWeights& w, int64_t begin, int64_t end,
             TensorView out) {
  if (a.rows == 0) return;
  if (w.type() == WeightType::kBF16) {
    Run<WeightType::kBF16>(a, w, begin, end, out);
  } else {
    Run<WeightType::kInt8>(a, w, begin, end, out);
  }
}
#else
void AmxGemv(const TiledRows&, const TiledWeights&, int64_t, int64_t, TensorView) {}
#endif

}  // namespace skipserve::cpu
