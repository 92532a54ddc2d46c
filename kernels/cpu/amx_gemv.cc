#include <algorithm>

#include "kernels/cpu/amx.h"
#include "kernels/cpu/paired_gemv.h"

#ifdef SKIPSERVE_HAS_AMX
#include <immintrin.h>
#endif

namespace skipserve::cpu {

#ifdef SKIPSERVE_HAS_AMX
namespace {

constexpr int64_t kOutputs = PairedWeights::kOutputs;
constexpr int64_t kInputs = PairedWeights::kInputs;
constexpr int64_t kBlock = PairedWeights::kBlock;
constexpr int64_t kAhead = 2;  // input blocks that are fetched before they are needed

// sums [16, 64] = 16 rows of a by 64 outputs.
SKIPSERVE_AMX void Block(const uint16_t* a, int64_t stride, const uint16_t* w, int64_t blocks,
                         float* sums) {
  constexpr int64_t kPairRow = kOutputs * sizeof(uint32_t);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t b = 0; b < blocks; ++b, a += kInputs, w += kBlock) {
    for (int64_t i = 0; i < kBlock; i += kInputs) {
      _mm_prefetch(reinterpret_cast<const char*>(w + kAhead * kBlock + i), _MM_HINT_T0);
    }
    _tile_loadd(4, a, stride * sizeof(uint16_t));
    _tile_loadd(5, w, kPairRow);
    _tile_dpbf16ps(0, 4, 5);
    _tile_loadd(6, w + kInputs, kPairRow);
    _tile_dpbf16ps(1, 4, 6);
    _tile_loadd(7, w + 2 * kInputs, kPairRow);
    _tile_dpbf16ps(2, 4, 7);
    _tile_loadd(5, w + 3 * kInputs, kPairRow);
    _tile_dpbf16ps(3, 4, 5);
  }
  constexpr int64_t kSumRow = kOutputs * sizeof(float);
  _tile_stored(0, sums, kSumRow);
  _tile_stored(1, sums + 16, kSumRow);
  _tile_stored(2, sums + 32, kSumRow);
  _tile_stored(3, sums + 48, kSumRow);
}

SKIPSERVE_AMX void Run(const uint16_t* a, int64_t rows, const PairedWeights& w, int64_t begin,
                       int64_t end, TensorView out) {
  const TileConfig config(std::min(rows, kAmxRows));
  _tile_loadconfig(&config);
  alignas(64) float sums[kAmxRows * kOutputs];
  const int64_t stride = w.input_blocks() * kInputs;
  for (int64_t block = begin; block < end; ++block) {
    const int64_t count = std::min(kOutputs, w.n() - block * kOutputs);
    for (int64_t first = 0; first < rows; first += kAmxRows) {
      Block(a + first * stride, stride, w.Outputs(block), w.input_blocks(), sums);
      for (int64_t i = 0; i < std::min(kAmxRows, rows - first); ++i) {
        std::copy_n(sums + i * kOutputs, count,
                    out.data + (first + i) * out.stride + block * kOutputs);
      }
    }
  }
  _tile_release();
}

}  // namespace

void AmxGemv(const uint16_t* a, int64_t rows, const PairedWeights& w, int64_t begin, int64_t end,
             TensorView out) {
  if (rows > 0) Run(a, rows, w, begin, end, out);
}
#else
void AmxGemv(const uint16_t*, int64_t, const PairedWeights&, int64_t, int64_t, TensorView) {}
#endif

}  // namespace skipserve::cpu
