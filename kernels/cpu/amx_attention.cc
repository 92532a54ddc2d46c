#include "kernels/cpu/amx_attention.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "kernels/cpu/amx.h"
#include "kernels/cpu/carver.h"
#include "kernels/kv_slot.h"

namespace skipserve::cpu {
#ifdef SKIPSERVE_HAS_AMX
namespace {

constexpr int64_t kLanes = kAmxRows;       // queries in a vector
constexpr int64_t kQueries = 2 * kLanes;   // that go through a key block together
constexpr int64_t kKeys = 512;             // of a key block
constexpr int64_t kStep = 32;              // bf16 values in a tile's row
constexpr int64_t kTile = kLanes * kStep;  // and in a tile
constexpr int64_t kRowBytes = kAmxRowBytes;
constexpr int64_t kNone = std::numeric_limits<int64_t>::max();

// Rows become columns, 32 bits at a time.
SKIPSERVE_AMX void Transpose(__m512i (&r)[kLanes]) {
  __m512i t[kLanes];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

// Scores and weights are counted in 1/128 of an exponent of 2, so that a score rounded to a whole
// number is the bf16 of 2^score but for its mantissa: the lowest seven bits, still a fraction of
// the exponent, are looked up. A score's rounding moves its weight by 0.27 % at most, bf16 by 0.39
// %.
constexpr float kUnits = 128;
constexpr float kBias = 127 * kUnits;  // 1.0, as a bf16
constexpr float kInteger = 3 << 22;    // a float that has its integer in its lowest bits
constexpr float kMost = kInteger + kBias + 64 * kUnits;  // weights beyond 2^64 raise the base

// round(128 (2^(i / 128) - 1)).
struct alignas(64) Mantissas {
  Mantissas() {
    for (int i = 0; i < 128; ++i) {
      of[i] = static_cast<uint8_t>(std::lround(kUnits * (std::exp2(i / kUnits) - 1)));
    }
  }
  uint8_t of[128];
};

// Tiles 0 to 3 are sums [32, kQueries]. AddProducts adds two left sides, of 16 rows each, by two
// right sides, of 16 queries each and one behind the other.
constexpr int64_t kSumBytes = kQueries * sizeof(float);

SKIPSERVE_AMX inline void AddProducts(const uint16_t* upper, const uint16_t* lower,
                                      const void* right) {
  _tile_loadd(4, upper, kRowBytes);
  _tile_loadd(5, lower, kRowBytes);
  _tile_loadd(6, right, kRowBytes);
  _tile_loadd(7, static_cast<const uint16_t*>(right) + kTile, kRowBytes);
  _tile_dpbf16ps(0, 4, 6);
  _tile_dpbf16ps(1, 4, 7);
  _tile_dpbf16ps(2, 5, 6);
  _tile_dpbf16ps(3, 5, 7);
}

SKIPSERVE_AMX inline void StoreSums(float* to) {
  _tile_stored(0, to, kSumBytes);
  _tile_stored(1, to + kLanes, kSumBytes);
  _tile_stored(2, to + kLanes * kQueries, kSumBytes);
  _tile_stored(3, to + kLanes * kQueries + kLanes, kSumBytes);
}

class AmxAttention : public Bf16Attention {
 public:
  explicit AmxAttention(int64_t dim)
      : dim_(dim),
        steps_(dim / kStep),
        scale_(1.44269504f * kUnits / std::sqrt(static_cast<float>(dim))) {}

  int64_t head_dim() const override { return dim_; }
  // 1,024 queries at once share what it takes to pack a key block.
  TileShape tiles() const override { return {kQueries, kQueries, 1024}; }

  size_t ScratchBytes(int64_t num_rows, int64_t group) const override {
    alignas(64) std::byte base[1];
    return Carve(num_rows * group, base).bytes;
  }

  SKIPSERVE_AMX void Run(const PrefillTask& task, TensorView q, int64_t group, const KvPool& pool,
                         void* scratch, TensorView out) const override {
    const State s = Carve(task.num_rows * group, static_cast<std::byte*>(scratch));
    LoadQueries(task, q, group, s);
    _tile_loadconfig(&config_);
    const int64_t end =
        task.segment->kv_len - task.segment->row_count + task.first_row + task.num_rows;
    int64_t bad = kNone;  // the first token whose K is not finite
    for (int64_t begin = 0; begin < end; begin += kKeys) {
      bad = std::min(bad, LoadKeys(task, pool, begin, std::min(kKeys, end - begin), s));
      for (int64_t tile = 0; tile < s.tiles; ++tile) {
        // Limits ascend, so the last is the largest.
        const int64_t seen = s.limit[(tile + 1) * kQueries - 1] + 1 - begin;
        if (seen > 0) Attend(tile, begin, std::min(kKeys, seen), s);
      }
    }
    _tile_release();
    StoreOutput(task, group, bad, s, out);
  }

 private:
  struct State {
    int64_t tiles = 0;  // of kQueries
    size_t bytes = 0;
    uint16_t* q = nullptr;     // [tiles, steps, 2, kTile]: right sides
    float* o = nullptr;        // [tiles, dim, kQueries], not yet divided by sum
    float* shift = nullptr;    // [tiles, kQueries] what makes a score the integer of its weight
    float* sum = nullptr;      // [tiles, kQueries] of weights so far
    int32_t* limit = nullptr;  // [tiles, kQueries] the last token that a query sees
    uint16_t* k = nullptr;     // [kKeys / 16, steps, kTile]: left sides
    uint16_t* v = nullptr;     // [kKeys / 32, dim / 16, kTile]: left sides, a row a dimension
    float* scores = nullptr;   // [2, kStep, kQueries]
    uint32_t* p = nullptr;     // [kKeys / 32, 2, kTile / 2]: right sides, pairs of keys
  };

  State Carve(int64_t columns, std::byte* base) const {
    State s;
    s.tiles = (columns + kQueries - 1) / kQueries;
    Carver carver(base);
    s.q = carver.Take<uint16_t>(s.tiles * kQueries * dim_);
    s.o = carver.Take<float>(s.tiles * kQueries * dim_);
    s.shift = carver.Take<float>(s.tiles * kQueries);
    s.sum = carver.Take<float>(s.tiles * kQueries);
    s.limit = carver.Take<int32_t>(s.tiles * kQueries);
    s.k = carver.Take<uint16_t>(kKeys * dim_);
    s.v = carver.Take<uint16_t>(kKeys * dim_);
    s.scores = carver.Take<float>(2 * kStep * kQueries);
    s.p = carver.Take<uint32_t>(kKeys / 2 * kQueries);
    s.bytes = carver.used();
    return s;
  }

  // Column c of the task is row c / group, head c % group. Columns past the last repeat it and are
  // dropped at the end.
  SKIPSERVE_AMX void LoadQueries(const PrefillTask& t, TensorView q, int64_t group,
                                 const State& s) const {
    const int64_t columns = t.num_rows * group;
    const int64_t first = t.segment->kv_len - t.segment->row_count + t.first_row;
    for (int64_t c = 0; c < s.tiles * kQueries; c += kLanes) {
      const float* from[kLanes];
      for (int64_t i = 0; i < kLanes; ++i) {
        const int64_t column = std::min(c + i, columns - 1);
        const int64_t row = t.segment->row_begin + t.first_row + column / group;
        from[i] = q.data + row * q.stride + (t.kv_head * group + column % group) * dim_;
        s.limit[c + i] = static_cast<int32_t>(first + column / group);
      }
      const int64_t tile = c / kQueries, half = c / kLanes % 2;
      for (int64_t step = 0; step < steps_; ++step) {
        __m512i r[kLanes];
        for (int64_t i = 0; i < kLanes; ++i) {
          const float* at = from[i] + step * kStep;
          r[i] = (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(at + kLanes), _mm512_loadu_ps(at));
        }
        Transpose(r);
        uint16_t* to = s.q + ((tile * steps_ + step) * 2 + half) * kTile;
        for (int64_t i = 0; i < kLanes; ++i) _mm512_store_si512(to + i * kStep, r[i]);
      }
    }
    std::fill_n(s.o, s.tiles * kQueries * dim_, 0.0f);
    std::fill_n(s.shift, s.tiles * kQueries, std::numeric_limits<float>::max());
    std::fill_n(s.sum, s.tiles * kQueries, 0.0f);
  }

  // K and V of tokens [begin, begin + count) as left sides, zeros after them. Returns the first
  // token whose K has a NaN or an infinity, or kNone.
  SKIPSERVE_AMX int64_t LoadKeys(const PrefillTask& t, const KvPool& pool, int64_t begin,
                                 int64_t count, const State& s) const {
    alignas(64) static constexpr uint16_t kNothing[4096] = {};
    const uint16_t* k[kKeys];
    const uint16_t* v[kKeys];
    KvRows<uint16_t>(pool, *t.segment, t.kv_head, begin, count, k, v);
    const int64_t whole = (count + kStep - 1) / kStep * kStep;
    std::fill(k + count, k + whole, kNothing);
    std::fill(v + count, v + whole, kNothing);
    int64_t bad = kNone;
    const __m512i exponent = _mm512_set1_epi16(0x7F80);
    for (int64_t i = whole - 1; i >= 0; --i) {
      uint16_t* to = s.k + i / kLanes * steps_ * kTile + i % kLanes * kStep;
      __mmask32 beyond = 0;
      for (int64_t step = 0; step < steps_; ++step) {
        const __m512i values = _mm512_loadu_si512(k[i] + step * kStep);
        beyond |= _mm512_cmpeq_epi16_mask(_mm512_and_si512(values, exponent), exponent);
        _mm512_store_si512(to + step * kTile, values);
      }
      if (beyond != 0) bad = begin + i;
    }
    uint16_t* to = s.v;
    for (int64_t i = 0; i < whole; i += kStep) {
      for (int64_t d = 0; d < dim_; d += kLanes, to += kTile) {
        __m512i r[kLanes];
        for (int64_t pair = 0; pair < kLanes; ++pair) {
          r[pair] = _mm512_or_si512(Widen(v[i + 2 * pair] + d),
                                    _mm512_slli_epi32(Widen(v[i + 2 * pair + 1] + d), 16));
        }
        Transpose(r);
        for (int64_t row = 0; row < kLanes; ++row) _mm512_store_si512(to + row * kStep, r[row]);
      }
    }
    return bad;
  }

  SKIPSERVE_AMX static __m512i Widen(const uint16_t* at) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
  }

  // The online softmax of flash attention: o += softmax(q K^T) V for a tile of queries and the
  // first `count` keys of the block from token `begin` on. The scores of the next keys are under
  // way in the tiles while those at hand are weighed in vectors.
  SKIPSERVE_AMX void Attend(int64_t tile, int64_t begin, int64_t count, const State& s) const {
    const int64_t groups = (count + kStep - 1) / kStep;  // of 32 keys
    const uint16_t* const q = s.q + tile * kQueries * dim_;
    float* const o = s.o + tile * kQueries * dim_;
    int64_t added = 0;  // groups whose weighted V are in o
    Scores(q, 0, s);
    for (int64_t g = 0; g < groups; ++g) {
      if (g + 1 < groups) Scores(q, g + 1, s);
      for (int64_t half = 0; half < 2; ++half) {
        const int64_t at = tile * kQueries + half * kLanes;
        const int64_t first = begin + g * kStep;
        const bool all_see = s.limit[at] + 1 >= first + kStep;
        __mmask16 beyond =
            all_see ? Weigh<false>(g, half, at, first, s) : Weigh<true>(g, half, at, first, s);
        if (__builtin_expect(beyond != 0, 0)) {
          AddValues(o, added, g, s);
          added = g;
          Raise(all_see ? GroupMax<false>(g, half, at, first, s)
                        : GroupMax<true>(g, half, at, first, s),
                beyond, at, o + half * kLanes, s);
          all_see ? Weigh<false>(g, half, at, first, s) : Weigh<true>(g, half, at, first, s);
        }
      }
    }
    AddValues(o, added, groups, s);
  }

  // The scores of a group of keys, not yet scaled: [kStep, kQueries] = K q^T.
  SKIPSERVE_AMX void Scores(const uint16_t* q, int64_t g, const State& s) const {
    const uint16_t* upper = s.k + 2 * g * steps_ * kTile;
    const uint16_t* lower = upper + steps_ * kTile;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t step = 0; step < steps_; ++step) {
      AddProducts(upper + step * kTile, lower + step * kTile, q + 2 * step * kTile);
    }
    StoreSums(ScoresOf(g, s));
  }

  // Two groups' scores are held in turn.
  static float* ScoresOf(int64_t g, const State& s) { return s.scores + g % 2 * kStep * kQueries; }

  // Which queries see key `key`, counted from the group's first.
  template <bool kMasked>
  SKIPSERVE_AMX static __mmask16 Seen(int64_t key, __m512i limit) {
    if constexpr (!kMasked) return 0xFFFF;
    return _mm512_cmple_epi32_mask(_mm512_set1_epi32(static_cast<int32_t>(key)), limit);
  }
  SKIPSERVE_AMX static __m512i Limit(int64_t at, int64_t first, const State& s) {
    return _mm512_sub_epi32(_mm512_load_si512(s.limit + at),
                            _mm512_set1_epi32(static_cast<int32_t>(first)));
  }

  // Of 16 queries' scores of a group, scaled; of NaN alone the lowest number.
  template <bool kMasked>
  SKIPSERVE_AMX __m512 GroupMax(int64_t g, int64_t half, int64_t at, int64_t first,
                                const State& s) const {
    const float* from = ScoresOf(g, s) + half * kLanes;
    const __m512i limit = Limit(at, first, s);
    __m512 m[4];
    for (__m512& x : m) x = _mm512_set1_ps(std::numeric_limits<float>::lowest());
    for (int64_t key = 0; key < kStep; key += 4, from += 4 * kQueries) {
      for (int64_t i = 0; i < 4; ++i) {
        m[i] = _mm512_mask_max_ps(m[i], Seen<kMasked>(key + i, limit), m[i],
                                  _mm512_load_ps(from + i * kQueries));
      }
    }
    return _mm512_mul_ps(_mm512_max_ps(_mm512_max_ps(m[0], m[1]), _mm512_max_ps(m[2], m[3])),
                         _mm512_set1_ps(scale_));
  }

  // Makes `max` weigh 1 for the queries `which`. What is summed is rescaled, which floating-point
  // numbers bear, but seldom: only for weights beyond kMost.
  SKIPSERVE_AMX void Raise(__m512 max, __mmask16 which, int64_t at, float* o,
                           const State& s) const {
    const __m512 old = _mm512_load_ps(s.shift + at);
    const __m512 shift = _mm512_mask_sub_ps(old, which, _mm512_set1_ps(kInteger + kBias), max);
    alignas(64) float by[kLanes];
    _mm512_store_ps(by, _mm512_sub_ps(shift, old));
    for (float& f : by) f = std::exp2(f / kUnits);
    const __m512 factor = _mm512_load_ps(by);
    _mm512_store_ps(s.shift + at, shift);
    _mm512_store_ps(s.sum + at, _mm512_mul_ps(_mm512_load_ps(s.sum + at), factor));
    for (int64_t d = 0; d < dim_; ++d, o += kQueries) {
      _mm512_store_ps(o, _mm512_mul_ps(_mm512_load_ps(o), factor));
    }
  }

  // Turns the scores of 16 queries, in the lanes of vectors, into weights, unless some are beyond
  // kMost: of those queries it says so and sums nothing.
  template <bool kMasked>
  SKIPSERVE_AMX __mmask16 Weigh(int64_t g, int64_t half, int64_t at, int64_t first,
                                const State& s) const {
    const float* from = ScoresOf(g, s) + half * kLanes;
    uint32_t* to = s.p + (2 * g + half) * kTile / 2;
    const __m512i limit = Limit(at, first, s);
    const __m512 scale = _mm512_set1_ps(scale_), shift = _mm512_load_ps(s.shift + at);
    const __m512 zero = _mm512_set1_ps(kInteger);
    const __m512i low_mantissas = _mm512_load_si512(mantissas_.of);
    const __m512i high_mantissas = _mm512_load_si512(mantissas_.of + 64);
    const __m512i mantissa = _mm512_set1_epi32(0x007F007F);
    const __m512bh ones = (__m512bh)_mm512_set1_epi32(0x3F803F80);
    __m512 sum0 = _mm512_setzero_ps(), sum1 = sum0, most0 = zero, most1 = zero;
    for (int64_t key = 0; key < kStep; key += 2, from += 2 * kQueries, to += kLanes) {
      // In this order a NaN weighs nothing, as does what is too low and what is not seen.
      const __m512 e0 =
          _mm512_mask_max_ps(zero, Seen<kMasked>(key, limit),
                             _mm512_fmadd_ps(_mm512_load_ps(from), scale, shift), zero);
      const __m512 e1 =
          _mm512_mask_max_ps(zero, Seen<kMasked>(key + 1, limit),
                             _mm512_fmadd_ps(_mm512_load_ps(from + kQueries), scale, shift), zero);
      most0 = _mm512_max_ps(most0, e0);
      most1 = _mm512_max_ps(most1, e1);
      const __m512i pair = _mm512_mask_blend_epi16(0xAAAAAAAAu, _mm512_castps_si512(e0),
                                                   _mm512_slli_epi32(_mm512_castps_si512(e1), 16));
      const __m512i found = _mm512_permutex2var_epi8(low_mantissas, pair, high_mantissas);
      const __m512i weights = _mm512_ternarylogic_epi32(mantissa, found, pair, 0xCA);
      _mm512_store_si512(to, weights);
      (key % 4 == 0 ? sum0 : sum1) =
          _mm512_dpbf16_ps(key % 4 == 0 ? sum0 : sum1, (__m512bh)weights, ones);
    }
    const __mmask16 beyond =
        _mm512_cmp_ps_mask(_mm512_max_ps(most0, most1), _mm512_set1_ps(kMost), _CMP_GT_OQ);
    if (beyond == 0) {
      const __m512 sum = _mm512_add_ps(sum0, sum1);
      _mm512_store_ps(s.sum + at, _mm512_add_ps(_mm512_load_ps(s.sum + at), sum));
    }
    return beyond;
  }

  // o [dim, kQueries] += V^T p over the groups [begin, end).
  SKIPSERVE_AMX void AddValues(float* o, int64_t begin, int64_t end, const State& s) const {
    if (begin == end) return;
    for (int64_t d = 0; d < dim_; d += kStep) {
      float* const to = o + d * kQueries;
      _tile_loadd(0, to, kSumBytes);
      _tile_loadd(1, to + kLanes, kSumBytes);
      _tile_loadd(2, to + kLanes * kQueries, kSumBytes);
      _tile_loadd(3, to + kLanes * kQueries + kLanes, kSumBytes);
      for (int64_t g = begin; g < end; ++g) {
        const uint16_t* v = s.v + (g * dim_ / kLanes + d / kLanes) * kTile;
        AddProducts(v, v + kTile, s.p + g * kTile);
      }
      StoreSums(to);
    }
  }

  // What sees the token `bad` is not a number.
  SKIPSERVE_AMX void StoreOutput(const PrefillTask& t, int64_t group, int64_t bad, const State& s,
                                 TensorView out) const {
    const int64_t columns = t.num_rows * group;
    for (int64_t c = 0; c < columns; c += kLanes) {
      const float* o = s.o + c / kQueries * kQueries * dim_ + c % kQueries;
      for (int64_t d = 0; d < dim_; d += kLanes) {
        __m512i r[kLanes];
        for (int64_t i = 0; i < kLanes; ++i) r[i] = _mm512_load_si512(o + (d + i) * kQueries);
        Transpose(r);
        for (int64_t i = 0; i < std::min(kLanes, columns - c); ++i) {
          const int64_t row = t.segment->row_begin + t.first_row + (c + i) / group;
          const int64_t head = t.kv_head * group + (c + i) % group;
          const float by =
              s.limit[c + i] < bad ? 1.0f / s.sum[c + i] : std::numeric_limits<float>::quiet_NaN();
          _mm512_storeu_ps(out.data + row * out.stride + head * dim_ + d,
                           _mm512_mul_ps(_mm512_castsi512_ps(r[i]), _mm512_set1_ps(by)));
        }
      }
    }
  }

  const int64_t dim_;
  const int64_t steps_;  // of kStep in dim
  const float scale_;    // makes a score an exponent of Exp2
  const TileConfig config_;
  const Mantissas mantissas_;
};

}  // namespace

std::unique_ptr<Bf16Attention> MakeAmxAttention(int64_t head_dim) {
  if (!AmxReady() || head_dim % kStep != 0 || head_dim > 4096) return nullptr;
  return std::make_unique<AmxAttention>(head_dim);
}

#else
std::unique_ptr<Bf16Attention> MakeAmxAttention(int64_t) { return nullptr; }
#endif

}  // namespace skipserve::cpu
