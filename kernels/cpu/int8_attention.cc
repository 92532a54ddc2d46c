#include "kernels/cpu/int8_attention.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/carver.h"
#include "kernels/cpu/int8_keys.h"
#include "kernels/cpu/quantize.h"
#include "kernels/cpu/vnni.h"
#include "kernels/cpu/vnni_ready.h"

namespace skipserve::cpu {

#if defined(__x86_64__)
namespace {

constexpr int64_t kRows = 4;  // (query, head) pairs of a register tile
constexpr int64_t kKeys = Int8Keys::kCount;
constexpr int64_t kLanes = 16;
constexpr int64_t kTile = 64;  // keys or dimensions of a register tile: 16 sums beside 4 rows
constexpr int64_t kVectors = kTile / kLanes;
constexpr int64_t kKeyVectors = kKeys / kLanes;
constexpr float kMostWeight = 32767.0f;
constexpr float kLowest = -1e30f;

// What a task keeps between key blocks.
struct State {
  int64_t dim = 0;
  int64_t columns = 0;          // up to whole tiles
  uint32_t* q = nullptr;        // [columns, dim / 4] four unsigned codes a word
  float* q_scale = nullptr;     // [columns] makes exponents of 2 of scores
  float* o = nullptr;           // [columns, dim] rotated, not yet divided by sum
  float* max = nullptr;         // [columns] largest exponent so far, V's scale in it
  float* sum = nullptr;         // [columns, kLanes] of weights, V's scale not in them
  int64_t* visible = nullptr;   // [columns] keys of the block that a column sees
  float* exponents = nullptr;   // [kRows, kKeys] of weights
  uint32_t* weights = nullptr;  // [kRows, kKeys / 2] two of 15 bits a word

  State(int64_t c, int64_t d, Carver& carver)
      : dim(d),
        columns((c + kRows - 1) / kRows * kRows),
        q(carver.Take<uint32_t>(columns * dim / 4)),
        q_scale(carver.Take<float>(columns)),
        o(carver.Take<float>(columns * dim)),
        max(carver.Take<float>(columns)),
        sum(carver.Take<float>(columns * kLanes)),
        visible(carver.Take<int64_t>(columns)),
        exponents(carver.Take<float>(kRows * kKeys)),
        weights(carver.Take<uint32_t>(kRows * kKeys / 2)) {}
};

// Column c of the task is row c / group, head c % group; what is past the last sees nothing.
void LoadQueries(const PrefillTask& t, TensorView q, int64_t group, const State& s) {
  const int64_t columns = t.num_rows * group;
  auto* const codes = reinterpret_cast<int8_t*>(s.q);
  for (int64_t i = 0; i < t.num_rows; ++i) {
    const int64_t row = t.segment->row_begin + t.first_row + i;
    QuantizeRows(q.data + row * q.stride + t.kv_head * group * s.dim, group, s.dim,
                 codes + i * group * s.dim, s.q_scale + i * group);
  }
  ToUnsigned(codes, columns * s.dim);
  const float base = 1.44269504f / std::sqrt(static_cast<float>(s.dim));
  for (int64_t c = 0; c < columns; ++c) s.q_scale[c] *= base;
  std::fill(codes + columns * s.dim, codes + s.columns * s.dim, int8_t{0});
  std::fill(s.q_scale + columns, s.q_scale + s.columns, 0.0f);
  std::fill_n(s.o, s.columns * s.dim, 0.0f);
  std::fill_n(s.max, s.columns, kLowest);
  std::fill_n(s.sum, s.columns * kLanes, 0.0f);
}

// Which of the keys from `key` of the block on a column sees.
SKIPSERVE_VNNI inline __mmask16 Seen(const State& s, int64_t column, int64_t key) {
  const int64_t lanes = std::clamp<int64_t>(s.visible[column] - key, 0, kLanes);
  return static_cast<__mmask16>((1u << lanes) - 1);
}

// 2^x for x <= 0 to a relative error of 1e-4 (least maximum error, degree 3, in [0, 1)).
SKIPSERVE_VNNI inline __m512 Exp2(__m512 x) {
  const __m512 f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF);
  __m512 p = _mm512_set1_ps(0.0770671740f);
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.227644847f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.695116819f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, x);
}

SKIPSERVE_VNNI inline __m128 Exp2(__m128 x) {
  return _mm512_castps512_ps128(Exp2(_mm512_zextps128_ps512(x)));
}

// exponents = the scores of a tile's rows, V's scale in them, nothing for keys that a row does not
// see. most: the largest of each row.
template <bool kWhole>
SKIPSERVE_VNNI void Score(const State& s, const Int8Keys& keys, int64_t column,
                          float (&most)[kRows]) {
  const int64_t words = s.dim / 4;
  const uint32_t* const q = s.q + column * words;
  __m512 largest[kRows];
  for (__m512& m : largest) m = _mm512_set1_ps(kLowest);
  for (int64_t first = 0; first < kKeys; first += kTile) {
    __m512i sums[kRows][kVectors];
#pragma GCC unroll 4
    for (int64_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int64_t v = 0; v < kVectors; ++v) {
        sums[r][v] = _mm512_loadu_si512(keys.k_offset + first + v * kLanes);
      }
    }
    const uint32_t* k = keys.k + first;
    for (int64_t w = 0; w < words; ++w, k += kKeys) {
      __m512i four[kVectors];
      for (int64_t v = 0; v < kVectors; ++v) four[v] = _mm512_loadu_si512(k + v * kLanes);
#pragma GCC unroll 4
      for (int64_t r = 0; r < kRows; ++r) {
        const __m512i x = _mm512_set1_epi32(static_cast<int>(q[r * words + w]));
        for (int64_t v = 0; v < kVectors; ++v) {
          AddFours(sums[r][v], x, four[v]);
        }
      }
    }
#pragma GCC unroll 4
    for (int64_t r = 0; r < kRows; ++r) {
      const __m512 by = _mm512_set1_ps(s.q_scale[column + r]);
#pragma GCC unroll 4
      for (int64_t v = 0; v < kVectors; ++v) {
        const int64_t key = first + v * kLanes;
        const __m512 scaled =
            _mm512_mul_ps(_mm512_cvtepi32_ps(sums[r][v]), _mm512_loadu_ps(keys.k_scale + key));
        __m512 x = _mm512_fmadd_ps(scaled, by, _mm512_loadu_ps(keys.v_exponent + key));
        if constexpr (!kWhole) {
          x = _mm512_mask_mov_ps(_mm512_set1_ps(-INFINITY), Seen(s, column + r, key), x);
        }
        largest[r] = _mm512_max_ps(x, largest[r]);  // in this order a NaN is passed over
        _mm512_storeu_ps(s.exponents + r * kKeys + key, x);
      }
    }
  }
  for (int64_t r = 0; r < kRows; ++r) most[r] = _mm512_reduce_max_ps(largest[r]);
}

// Weights of a tile's rows, each relative to its largest of the block. by: what makes them relative
// to all that were seen.
template <bool kWhole>
SKIPSERVE_VNNI void Weigh(const State& s, const Int8Keys& keys, int64_t column,
                          const float (&most)[kRows], float (&by)[kRows]) {
  float* const max = s.max + column;
  const __m128 block = _mm_loadu_ps(most), old = _mm_loadu_ps(max);
  const __m128 larger = _mm_max_ps(block, old);
  _mm_storeu_ps(by, Exp2(_mm_sub_ps(block, larger)));
  float keep[kRows];
  _mm_storeu_ps(keep, Exp2(_mm_sub_ps(old, larger)));
  const bool rises = _mm_movemask_ps(_mm_cmplt_ps(old, larger)) != 0;
  _mm_storeu_ps(max, larger);
  for (int64_t r = 0; r < kRows; ++r) {
    const __m512 base = _mm512_set1_ps(most[r]);
    __m512 total = _mm512_setzero_ps();
    for (int64_t v = 0; v < kKeyVectors; v += 2) {
      __m512i codes[2];
      for (int64_t i = 0; i < 2; ++i) {
        const int64_t key = (v + i) * kLanes;
        const __m512 x = _mm512_loadu_ps(s.exponents + r * kKeys + key);
        const __m512 p = Exp2(_mm512_sub_ps(x, base));
        codes[i] = _mm512_cvtps_epi32(_mm512_mul_ps(p, _mm512_set1_ps(kMostWeight)));
        __m512 inverse = _mm512_loadu_ps(keys.v_inverse + key);
        if constexpr (!kWhole) inverse = _mm512_maskz_mov_ps(Seen(s, column + r, key), inverse);
        total = _mm512_fmadd_ps(p, inverse, total);
      }
      _mm512_storeu_si512(s.weights + r * kKeys / 2 + v * kLanes / 2,
                          _mm512_packs_epi32(codes[0], codes[1]));
    }
    float* const sum = s.sum + (column + r) * kLanes;
    const __m512 before = _mm512_mul_ps(_mm512_loadu_ps(sum), _mm512_set1_ps(keep[r]));
    _mm512_storeu_ps(sum, _mm512_fmadd_ps(total, _mm512_set1_ps(by[r]), before));
  }
  if (!rises) return;
  for (int64_t r = 0; r < kRows; ++r) {
    float* const o = s.o + (column + r) * s.dim;
    for (int64_t j = 0; j < s.dim; j += kLanes) {
      _mm512_storeu_ps(o + j, _mm512_mul_ps(_mm512_loadu_ps(o + j), _mm512_set1_ps(keep[r])));
    }
  }
}

// o += the weights of a tile's rows by V.
SKIPSERVE_VNNI void AddValues(const State& s, const Int8Keys& keys, int64_t column,
                              const float (&by)[kRows]) {
  constexpr int64_t kPairs = kKeys / 2;
  for (int64_t first = 0; first < s.dim; first += kTile) {
    __m512i sums[kRows][kVectors];
    for (auto& of_row : sums) {
      for (__m512i& sum : of_row) sum = _mm512_setzero_si512();
    }
    const uint32_t* value = keys.v + first;
    for (int64_t w = 0; w < kPairs; ++w, value += s.dim) {
      __m512i two[kVectors];
      for (int64_t v = 0; v < kVectors; ++v) two[v] = _mm512_loadu_si512(value + v * kLanes);
      for (int64_t r = 0; r < kRows; ++r) {
        const __m512i x = _mm512_set1_epi32(static_cast<int>(s.weights[r * kPairs + w]));
        for (int64_t v = 0; v < kVectors; ++v) {
          AddPairs(sums[r][v], x, two[v]);
        }
      }
    }
    for (int64_t r = 0; r < kRows; ++r) {
      float* const o = s.o + (column + r) * s.dim + first;
      for (int64_t v = 0; v < kVectors; ++v) {
        const __m512 sum = _mm512_cvtepi32_ps(sums[r][v]);
        _mm512_storeu_ps(o + v * kLanes, _mm512_fmadd_ps(sum, _mm512_set1_ps(by[r] / kMostWeight),
                                                         _mm512_loadu_ps(o + v * kLanes)));
      }
    }
  }
}

template <bool kWhole>
SKIPSERVE_VNNI void Attend(const State& s, const Int8Keys& keys, int64_t column) {
  float most[kRows], by[kRows];
  Score<kWhole>(s, keys, column, most);
  Weigh<kWhole>(s, keys, column, most, by);
  AddValues(s, keys, column, by);
}

SKIPSERVE_VNNI float SumOf(const float* lanes) {
  return _mm512_reduce_add_ps(_mm512_loadu_ps(lanes));
}

void StoreOutput(const PrefillTask& t, int64_t group, const State& s, TensorView out) {
  for (int64_t c = 0; c < t.num_rows * group; ++c) {
    const int64_t row = t.segment->row_begin + t.first_row + c / group;
    float* const to = out.data + row * out.stride + (t.kv_head * group + c % group) * s.dim;
    const float inverse = 1.0f / SumOf(s.sum + c * kLanes);
    for (int64_t j = 0; j < s.dim; ++j) to[j] = s.o[c * s.dim + j] * inverse;
    RotateRow(to, s.dim);
  }
}

class VnniAttention : public PackedAttention {
 public:
  explicit VnniAttention(int64_t dim) : dim_(dim) {}

  // A task's queries and outputs stay in L2: 1536 columns of 64 are half of a MiB.
  TileShape tiles() const override { return {kRows, kRows, 1536}; }

  size_t ScratchBytes(int64_t num_rows, int64_t group) const override {
    alignas(64) std::byte base[1];
    Carver carver(base);
    const State measured(num_rows * group, dim_, carver);
    return carver.used();
  }

  int64_t block_keys() const override { return kKeys; }
  size_t BlockBytes() const override { return Int8Keys::Bytes(dim_); }
  void Pack(const KvSegment& segment, int64_t kv_head, int64_t block, const KvPool& pool,
            Scratch& scratch, std::byte* to) const override {
    PackInt8Keys(segment, kv_head, block, pool, scratch, Int8Keys(dim_, to));
  }

  void Run(const PrefillTask& task, TensorView q, int64_t group, const KvPool&, void* scratch,
           TensorView out) const override {
    const int64_t columns = task.num_rows * group;
    Carver carver(static_cast<std::byte*>(scratch));
    const State s(columns, dim_, carver);
    LoadQueries(task, q, group, s);
    const int64_t first = task.segment->kv_len - task.segment->row_count + task.first_row;
    const int64_t end = first + task.num_rows;
    for (int64_t begin = 0; begin < end; begin += kKeys) {
      const Int8Keys keys(dim_, const_cast<std::byte*>(task.keys) + begin / kKeys * BlockBytes());
      for (int64_t c = 0; c < s.columns; ++c) {
        const int64_t seen = c < columns ? first + c / group + 1 - begin : 0;
        s.visible[c] = std::clamp<int64_t>(seen, 0, kKeys);
      }
      for (int64_t c = 0; c < s.columns; c += kRows) {
        const auto [least, most] = std::minmax_element(s.visible + c, s.visible + c + kRows);
        if (*most == 0) continue;
        if (*least == kKeys) {
          Attend<true>(s, keys, c);
        } else {
          Attend<false>(s, keys, c);
        }
      }
    }
    StoreOutput(task, group, s, out);
  }

 private:
  int64_t dim_;
};

}  // namespace

std::unique_ptr<PackedAttention> MakeInt8Attention(int64_t head_dim) {
  if (!VnniReady() || head_dim % kTile != 0) return nullptr;
  return std::make_unique<VnniAttention>(head_dim);
}
#else
std::unique_ptr<PackedAttention> MakeInt8Attention(int64_t) { return nullptr; }
#endif

}  // namespace skipserve::cpu
