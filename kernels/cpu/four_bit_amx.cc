// Weights of 4 bits and many rows: a group's products on AMX tiles, scaled and added up on vectors.
#include <algorithm>

#include "kernels/cpu/amx.h"
#include "kernels/cpu/four_bit_kernels.h"

namespace skipserve::cpu {

#ifdef SKIPSERVE_HAS_AMX
namespace {

using Block = FourBitWeights::Block;
constexpr int64_t kOutputs = FourBitWeights::kOutputs;
constexpr int64_t kInputs = FourBitWeights::kInputs;
constexpr int64_t kWords = kInputs / 4;  // of codes in a group
constexpr int64_t kLanes = 16;
constexpr int64_t kAhead = 4;  // groups that are fetched before they are needed

// Tile 0 = tile 4 times tile 5: kM rows, a group of inputs, a vector of outputs.
TileConfig GroupTiles(int64_t rows) {
  TileConfig config(rows);
  config.row_bytes[4] = kInputs;
  config.rows[5] = kWords;
  return config;
}

SKIPSERVE_AMX inline __m512 LoadHalves(const uint16_t* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

// Rows [row, row + kM) by a vector of outputs from `at` of a block on. Products go one group behind
// unpacking, sums two behind products, so that none waits for what was just stored.
template <int kM>
SKIPSERVE_AMX void Vector(const CodedRows& a, int64_t row, const FourBitWeights& w, int64_t block,
                          int64_t at, TensorView out) {
  constexpr int64_t kTurns = 4;
  const int64_t groups = w.input_blocks();
  const Block* const blocks = w.Outputs(block);
  const __m512i low = _mm512_set1_epi8(15);
  alignas(64) uint32_t weights[kTurns][kWords][kLanes];
  alignas(64) int32_t sums[kTurns][kM][kLanes];
  __m512 total[kM];
  for (__m512& t : total) t = _mm512_setzero_ps();
  for (int64_t step = 0; step < groups + 3; ++step) {
    if (step < groups) {
      const Block& b = blocks[step];
      for (int64_t i = 0; at == 0 && i < static_cast<int64_t>(sizeof(Block)); i += 64) {
        _mm_prefetch(reinterpret_cast<const char*>(&b + kAhead) + i, _MM_HINT_T0);
      }
      auto* const to = weights[step % kTurns];
      for (int64_t word = 0; word < kWords / 2; ++word) {
        const __m512i codes = _mm512_loadu_si512(b.codes[word] + at);
        _mm512_store_si512(to[word], _mm512_and_si512(codes, low));
        _mm512_store_si512(to[kWords / 2 + word],
                           _mm512_and_si512(_mm512_srli_epi16(codes, 4), low));
      }
    }
    asm volatile("" ::: "memory");  // GCC's tile loads do not say that they read memory
    if (const int64_t g = step - 1; g >= 0 && g < groups) {
      _tile_zero(0);
      _tile_loadd(4, a.codes + row * w.k() + g * kInputs, w.k());
      _tile_loadd(5, weights[g % kTurns], kAmxRowBytes);
      _tile_dpbssd(0, 4, 5);
      _tile_stored(0, sums[g % kTurns], kAmxRowBytes);
    }
    asm volatile("" ::: "memory");
    if (const int64_t g = step - 3; g >= 0) {
      const __m512 scales = LoadHalves(blocks[g].scales + at);
      const __m512 minima = LoadHalves(blocks[g].minima + at);
      for (int i = 0; i < kM; ++i) {
        const int64_t from = (row + i) * groups + g;
        const __m512 scale = _mm512_mul_ps(scales, _mm512_set1_ps(a.scales[from]));
        const __m512 sum = _mm512_cvtepi32_ps(_mm512_load_si512(sums[g % kTurns][i]));
        total[i] = _mm512_fmadd_ps(sum, scale, total[i]);
        total[i] = _mm512_fmadd_ps(minima, _mm512_set1_ps(a.sums[from]), total[i]);
      }
    }
  }
  const int64_t first = block * kOutputs + at;
  const int64_t lanes = std::clamp<int64_t>(w.n() - first, 0, kLanes);
  for (int i = 0; i < std::min<int64_t>(kM, a.rows - row); ++i) {
    _mm512_mask_storeu_ps(out.data + (row + i) * out.stride + first,
                          static_cast<__mmask16>((1u << lanes) - 1), total[i]);
  }
}

template <int kM>
SKIPSERVE_AMX void Rows(const CodedRows& a, int64_t row, const FourBitWeights& w, int64_t begin,
                        int64_t end, TensorView out) {
  const TileConfig config = GroupTiles(kM);
  _tile_loadconfig(&config);
  for (int64_t block = begin; block < end; ++block) {
    for (int64_t at = 0; at < kOutputs; at += kLanes) Vector<kM>(a, row, w, block, at, out);
  }
  _tile_release();
}

}  // namespace

void AmxFourBitGemv(const CodedRows& a, const FourBitWeights& w, int64_t begin, int64_t end,
                    TensorView out) {
  int64_t row = 0;
  for (; a.rows - row > 8; row += 16) Rows<16>(a, row, w, begin, end, out);
  for (; a.rows - row > 4; row += 8) Rows<8>(a, row, w, begin, end, out);
  if (row >= a.rows) return;
  const int64_t groups = w.input_blocks();
  const CodedRows rest = {a.rows - row, a.codes + row * w.k(), a.scales + row * groups,
                          a.sums + row * groups};
  VnniGemv(rest, w, begin, end, out.Rows(row, a.rows - row));
}
#else
void AmxFourBitGemv(const CodedRows&, const FourBitWeights&, int64_t, int64_t, TensorView) {}
#endif

}  // namespace skipserve::cpu
