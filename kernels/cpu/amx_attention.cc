#include "kernels/cpu/amx_attention.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "kernels/bf16.h"
#include "kernels/cpu/amx_products.h"
#include "kernels/cpu/carver.h"
#include "kernels/kv_slot.h"

namespace skipserve::cpu {
#ifdef SKIPSERVE_HAS_AMX
namespace {

using amx::kLanes;
using amx::kQueries;
using amx::kStep;
using amx::kTile;

constexpr int64_t kKeys = 512;  // of a key block
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

// Scores are counted in 1/128 of an exponent of 2, so that one rounded to a whole number has the
// bits of 2^score in bf16, but that its lowest seven are still a fraction f of the exponent and no
// mantissa. What the mantissa is less than f is looked up, once for two f. Both roundings move a
// weight by 0.72 % at most and 0.23 % in the mean square; one to bf16 alone by 0.39 % and 0.17 %.
constexpr float kUnits = 128;
constexpr float kBias = 127 * kUnits;  // 1.0 in bf16
constexpr float kInteger = 3 << 22;    // a float from which on the lowest bits are the integer
constexpr float kMost = kInteger + kBias + 64 * kUnits;  // weights beyond 2^64 raise the base

struct alignas(64) MantissaTable {
  MantissaTable() {
    const auto less = [](int f) { return f - kUnits * (std::exp2(f / kUnits) - 1); };
    for (int f = 0; f < 128; f += 2) {
      of[f / 2] = static_cast<uint8_t>(std::lround((less(f) + less(f + 1)) / 2));
    }
  }
  uint8_t of[64];
};

template <int kSteps>
class AmxAttention : public PackedAttention {
 public:
  using Scores = amx::Scores<kSteps>;
  using Values = amx::Values<kSteps>;

  AmxAttention() : scale_(1.44269504f * kUnits / std::sqrt(static_cast<float>(kDim))) {}

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
    int64_t bad = kNone;  // the first token whose K or V is not finite
    for (int64_t begin = 0; begin < end; begin += kKeys) {
      const int64_t count = std::min(kKeys, end - begin);
      bad = std::min(bad, LoadKeys(task, pool, begin, count, s));
      // Limits ascend: the later a tile, the more it sees.
      int64_t tile = 0;
      while (s.limit[(tile + 1) * kQueries - 1] < begin) ++tile;
      Scores first = ScoresOf(tile, 0, s);
      first.template Steps<0, kSteps>();
      first.Store();
      Values before;
      for (; tile < s.tiles; ++tile) {
        const int64_t seen = s.limit[(tile + 1) * kQueries - 1] + 1 - begin;
        before = Attend(tile, begin, std::min(kKeys, seen), before, s);
      }
      before.StepTo(before.steps());
    }
    _tile_release();
    StoreOutput(task, group, bad, s, out);
  }

 private:
  static constexpr int64_t kDim = kSteps * kStep;

  struct State {
    int64_t tiles = 0;  // of kQueries
    size_t bytes = 0;
    uint16_t* q = nullptr;         // [tiles, steps, 2, kTile]: right sides
    float* o = nullptr;            // [tiles, dim, kQueries], not yet divided by the sum of weights
    float* sum = nullptr;          // [tiles, kQueries] of weights
    float* shift = nullptr;        // [tiles, kQueries] what makes a score the integer of its weight
    int32_t* limit = nullptr;      // [tiles, kQueries] the last token that a query sees
    uint16_t* k = nullptr;         // [kKeys / 16, steps, kTile]: left sides
    uint16_t* v = nullptr;         // [kKeys / 32, dim / 16, kTile]: left sides, a row a dimension
    uint16_t* expanded = nullptr;  // [2, kStep, dim]: a group's K and V, where they are of 8 bits
    float* scores = nullptr;       // [2, kStep, kLanes]: in turn
    uint32_t* p = nullptr;         // [2, kKeys / 32, 2, kTile / 2]: right sides, pairs of keys; of
                                   // two tiles of queries in turn
  };

  State Carve(int64_t columns, std::byte* base) const {
    State s;
    s.tiles = (columns + kQueries - 1) / kQueries;
    Carver carver(base);
    s.q = carver.Take<uint16_t>(s.tiles * kQueries * kDim);
    s.o = carver.Take<float>(s.tiles * kQueries * kDim);
    s.sum = carver.Take<float>(s.tiles * kQueries);
    s.shift = carver.Take<float>(s.tiles * kQueries);
    s.limit = carver.Take<int32_t>(s.tiles * kQueries);
    s.k = carver.Take<uint16_t>(kKeys * kDim);
    s.v = carver.Take<uint16_t>(kKeys * kDim);
    s.expanded = carver.Take<uint16_t>(2 * kStep * kDim);
    s.scores = carver.Take<float>(2 * kStep * kLanes);
    s.p = carver.Take<uint32_t>(2 * kKeys / 2 * kQueries);
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
        from[i] = q.data + row * q.stride + (t.kv_head * group + column % group) * kDim;
        s.limit[c + i] = static_cast<int32_t>(first + column / group);
      }
      const int64_t tile = c / kQueries, half = c / kLanes % 2;
      for (int64_t step = 0; step < kSteps; ++step) {
        __m512i r[kLanes];
        for (int64_t i = 0; i < kLanes; ++i) {
          const float* at = from[i] + step * kStep;
          r[i] = (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(at + kLanes), _mm512_loadu_ps(at));
        }
        Transpose(r);
        uint16_t* to = s.q + ((tile * kSteps + step) * 2 + half) * kTile;
        for (int64_t i = 0; i < kLanes; ++i) _mm512_store_si512(to + i * kStep, r[i]);
      }
    }
    std::fill_n(s.o, s.tiles * kQueries * kDim, 0.0f);
    std::fill_n(s.sum, s.tiles * kQueries, 0.0f);
    std::fill_n(s.shift, s.tiles * kQueries, std::numeric_limits<float>::max());
  }

  // K and V of tokens [begin, begin + count) as left sides, zeros after them and in place of those
  // that have a NaN or an infinity: the first such token is returned, or kNone.
  SKIPSERVE_AMX int64_t LoadKeys(const PrefillTask& t, const KvPool& pool, int64_t begin,
                                 int64_t count, const State& s) const {
    alignas(64) static constexpr uint16_t kNothing[kDim] = {};
    int64_t bad = kNone;
    uint16_t* k_to = s.k;
    uint16_t* v_to = s.v;
    for (int64_t first = 0; first < count; first += kStep) {
      const int64_t here = std::min(kStep, count - first);
      const uint16_t* k[kStep];
      const uint16_t* v[kStep];
      Find(t, pool, false, begin + first, here, s.expanded, k);
      Find(t, pool, true, begin + first, here, s.expanded + kStep * kDim, v);
      for (int64_t i = here - 1; i >= 0; --i) {
        if (IsFinite(k[i]) && IsFinite(v[i])) continue;
        k[i] = v[i] = kNothing;
        if (begin + first + i < bad) bad = begin + first + i;
      }
      std::fill(k + here, k + kStep, kNothing);
      std::fill(v + here, v + kStep, kNothing);
      for (int64_t i = 0; i < kStep; ++i) {
        uint16_t* const to = k_to + i / kLanes * kSteps * kTile + i % kLanes * kStep;
        for (int64_t step = 0; step < kSteps; ++step) {
          _mm512_store_si512(to + step * kTile, _mm512_loadu_si512(k[i] + step * kStep));
        }
      }
      k_to += 2 * kSteps * kTile;
      for (int64_t d = 0; d < kDim; d += kLanes, v_to += kTile) {
        __m512i r[kLanes];
        for (int64_t pair = 0; pair < kLanes; ++pair) {
          r[pair] = _mm512_or_si512(Widen(v[2 * pair] + d),
                                    _mm512_slli_epi32(Widen(v[2 * pair + 1] + d), 16));
        }
        Transpose(r);
        for (int64_t row = 0; row < kLanes; ++row) _mm512_store_si512(v_to + row * kStep, r[row]);
      }
    }
    return bad;
  }

  // The K (or V) of tokens [begin, begin + count): where they lie, or, of 8 bits, widened to
  // `room`.
  SKIPSERVE_AMX static void Find(const PrefillTask& t, const KvPool& pool, bool is_v, int64_t begin,
                                 int64_t count, uint16_t* room, const uint16_t** rows) {
    if (pool.layout.dtype == DType::kBF16) {
      return KvRows<uint16_t>(pool, *t.segment, t.kv_head, is_v, begin, count, rows);
    }
    static_assert(kStep == KvLayout::kGroup);
    const int8_t* codes[kStep];
    const uint16_t* scales[kStep];
    KvCodeRows(pool, *t.segment, t.kv_head, is_v, begin, count, codes, scales);
    for (int64_t i = 0; i < count; ++i, room += kDim) {
      for (int64_t step = 0; step < kSteps; ++step) {
        const __m512 scale = _mm512_set1_ps(Bf16ToF32(scales[i][step]));
        const auto half = [&](int64_t at) SKIPSERVE_AMX {
          const auto* const from = reinterpret_cast<const __m128i*>(codes[i] + step * kStep + at);
          return _mm512_mul_ps(scale,
                               _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from))));
        };
        _mm512_store_si512(room + step * kStep,
                           (__m512i)_mm512_cvtne2ps_pbh(half(kLanes), half(0)));
      }
      rows[i] = room;
    }
  }

  SKIPSERVE_AMX static bool IsFinite(const uint16_t* values) {
    const __m512i exponent = _mm512_set1_epi16(0x7F80);
    __mmask32 beyond = 0;
    for (int64_t i = 0; i < kDim; i += kStep) {
      const __m512i bits = _mm512_and_si512(_mm512_loadu_si512(values + i), exponent);
      beyond |= _mm512_cmpeq_epi16_mask(bits, exponent);
    }
    return beyond == 0;
  }

  SKIPSERVE_AMX static __m512i Widen(const uint16_t* at) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
  }

  // The online softmax of flash attention, o += softmax(q K^T) V, for a tile of queries and
  // the first `count` keys of the block from token `begin` on. On vectors it turns scores, of which
  // the first are there, into weights; beside that the tiles multiply the next scores, and the
  // weights of `before`. Returns what its own weights are to be multiplied by.
  SKIPSERVE_AMX Values Attend(int64_t tile, int64_t begin, int64_t count, Values before,
                              const State& s) const {
    const int64_t groups = (count + kStep - 1) / kStep, units = 2 * groups;
    Values own;
    own.o = s.o + tile * kQueries * kDim;
    own.v = s.v;
    uint32_t* const p = s.p + tile % 2 * (kKeys / 2 * kQueries);
    own.p = p;
    own.end = groups;
    const int64_t before_steps = before.steps();
    for (int64_t unit = 0; unit < units; ++unit) {
      const int64_t g = unit / 2, half = unit % 2;
      const bool last = unit + 1 == units;  // after a block's last the scores are not used
      const Scores next =
          ScoresOf(last && tile + 1 < s.tiles ? tile + 1 : tile, last ? 0 : unit + 1, s);
      const int64_t before_end = before_steps * (unit + 1) / units;
      const int64_t at = tile * kQueries + half * kLanes, first = begin + g * kStep;
      uint32_t* const to = p + unit * kTile / 2;
      const bool all_see = s.limit[at] + 1 >= first + kStep;
      const __mmask16 beyond =
          all_see ? Weigh<false, true>(unit, at, first, to, next, before, before_end, s)
                  : Weigh<true, true>(unit, at, first, to, next, before, before_end, s);
      if (__builtin_expect(beyond != 0, 0)) {
        if (own.begin < g) {  // what has been weighed already belongs to the lower base
          before.StepTo(before_steps);
          Values earlier = own;
          earlier.end = g;
          earlier.StepTo(earlier.steps());
          own.begin = g;
        }
        Raise(unit, at, first, beyond, own.o + half * kLanes, s);
        Weigh<true, false>(unit, at, first, to, next, before, 0, s);
      }
    }
    return own;
  }

  // Those of 16 queries, half unit % 2 of a tile, with group unit / 2 of keys.
  Scores ScoresOf(int64_t tile, int64_t unit, const State& s) const {
    Scores scores;
    scores.k = s.k + unit / 2 * 2 * kSteps * kTile;
    scores.q = s.q + (tile * kSteps * 2 + unit % 2) * kTile;
    scores.to = ScoresAt(unit, s);
    return scores;
  }
  static float* ScoresAt(int64_t unit, const State& s) {
    return s.scores + unit % 2 * kStep * kLanes;
  }

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

  // Makes the largest score of a unit weigh 1 for the queries `which`. What is summed is rescaled,
  // which floating-point numbers bear, but seldom: only for weights beyond kMost.
  SKIPSERVE_AMX void Raise(int64_t unit, int64_t at, int64_t first, __mmask16 which, float* o,
                           const State& s) const {
    const float* const from = ScoresAt(unit, s);
    const __m512i limit = Limit(at, first, s);
    __m512 max = _mm512_set1_ps(std::numeric_limits<float>::lowest());
    for (int64_t key = 0; key < kStep; ++key) {  // in this order a NaN is passed over
      max =
          _mm512_mask_max_ps(max, Seen<true>(key, limit), _mm512_load_ps(from + key * kLanes), max);
    }
    max = _mm512_mul_ps(max, _mm512_set1_ps(scale_));
    const __m512 old = _mm512_load_ps(s.shift + at);
    const __m512 shift = _mm512_mask_sub_ps(old, which, _mm512_set1_ps(kInteger + kBias), max);
    alignas(64) float by[kLanes];
    _mm512_store_ps(by, _mm512_sub_ps(shift, old));
    for (float& f : by) f = std::exp2(f / kUnits);
    const __m512 factor = _mm512_load_ps(by);
    _mm512_store_ps(s.shift + at, shift);
    _mm512_store_ps(s.sum + at, _mm512_mul_ps(_mm512_load_ps(s.sum + at), factor));
    for (int64_t d = 0; d < kDim; ++d, o += kQueries) {
      _mm512_store_ps(o, _mm512_mul_ps(_mm512_load_ps(o), factor));
    }
  }

  // Turns a unit's scores, 16 queries in the lanes of a vector, into weights, and lets the tiles
  // work beside it. Returns the queries of which some are beyond kMost, so that all must be weighed
  // again.
  template <bool kMasked, bool kBeside>
  SKIPSERVE_AMX_INLINE __mmask16 Weigh(int64_t unit, int64_t at, int64_t first, uint32_t* to,
                                       const Scores& next, Values& before, int64_t before_end,
                                       const State& s) const {
    const float* const from = ScoresAt(unit, s);
    const __m512i limit = Limit(at, first, s);
    const __m512 scale = _mm512_set1_ps(scale_), shift = _mm512_load_ps(s.shift + at);
    const __m512 zero = _mm512_set1_ps(kInteger);
    const __m512i table = _mm512_load_si512(mantissas_.of);
    const auto ones = (__m512bh)_mm512_set1_epi16(0x3F80);
    __m512 most0 = zero, most1 = zero;
    __m512 sums[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};  // one alone would be waited for
    const auto weigh = [&](int64_t begin, int64_t end) SKIPSERVE_AMX {
      for (int64_t key = begin; key < end; key += 2) {
        // In this order a NaN weighs nothing, as does what is too low and what is not seen.
        const __m512 e0 = _mm512_mask_max_ps(
            zero, Seen<kMasked>(key, limit),
            _mm512_fmadd_ps(_mm512_load_ps(from + key * kLanes), scale, shift), zero);
        const __m512 e1 = _mm512_mask_max_ps(
            zero, Seen<kMasked>(key + 1, limit),
            _mm512_fmadd_ps(_mm512_load_ps(from + (key + 1) * kLanes), scale, shift), zero);
        most0 = _mm512_max_ps(most0, e0);
        most1 = _mm512_max_ps(most1, e1);
        const __m512i pair = _mm512_mask_blend_epi16(
            0xAAAAAAAAu, _mm512_castps_si512(e0), _mm512_slli_epi32(_mm512_castps_si512(e1), 16));
        const __m512i less =
            _mm512_maskz_permutexvar_epi8(0x5555555555555555u, _mm512_srli_epi16(pair, 1), table);
        const __m512i weights = _mm512_sub_epi16(pair, less);
        _mm512_store_si512(to + key / 2 * kLanes, weights);
        __m512& sum = sums[key / 2 % 2];
        sum = _mm512_dpbf16_ps(sum, (__m512bh)weights, ones);
      }
    };
    if constexpr (kBeside) {
      next.template Steps<0, (kSteps + 1) / 2>();
      weigh(0, 8);
      next.template Steps<(kSteps + 1) / 2, kSteps>();
      weigh(8, 16);
      next.Store();
      if (before.done < before_end) before.StepTo(before.done + 1);
      weigh(16, 24);
      before.StepTo(before_end);
      weigh(24, 32);
    } else {
      weigh(0, kStep);
    }
    const __mmask16 beyond =
        _mm512_cmp_ps_mask(_mm512_max_ps(most0, most1), _mm512_set1_ps(kMost), _CMP_GT_OQ);
    if (beyond == 0 || !kBeside) {  // those that are not weighed again
      const __m512 sum = _mm512_add_ps(sums[0], sums[1]);
      _mm512_store_ps(s.sum + at, _mm512_add_ps(_mm512_load_ps(s.sum + at), sum));
    }
    return beyond;
  }

  // NaN where a query sees the token `bad`.
  SKIPSERVE_AMX void StoreOutput(const PrefillTask& t, int64_t group, int64_t bad, const State& s,
                                 TensorView out) const {
    const int64_t columns = t.num_rows * group;
    for (int64_t c = 0; c < columns; c += kLanes) {
      const float* o = s.o + c / kQueries * kQueries * kDim + c % kQueries;
      for (int64_t d = 0; d < kDim; d += kLanes) {
        __m512i r[kLanes];
        for (int64_t i = 0; i < kLanes; ++i) r[i] = _mm512_load_si512(o + (d + i) * kQueries);
        Transpose(r);
        for (int64_t i = 0; i < std::min(kLanes, columns - c); ++i) {
          const int64_t row = t.segment->row_begin + t.first_row + (c + i) / group;
          const int64_t head = t.kv_head * group + (c + i) % group;
          const float by =
              s.limit[c + i] < bad ? 1.0f / s.sum[c + i] : std::numeric_limits<float>::quiet_NaN();
          _mm512_storeu_ps(out.data + row * out.stride + head * kDim + d,
                           _mm512_mul_ps(_mm512_castsi512_ps(r[i]), _mm512_set1_ps(by)));
        }
      }
    }
  }

  const float scale_;  // of a score, to units of an exponent of 2
  const TileConfig config_;
  const MantissaTable mantissas_;
};

}  // namespace

std::unique_ptr<PackedAttention> MakeAmxAttention(int64_t head_dim) {
  if (!AmxReady()) return nullptr;
  switch (head_dim) {
    case 32:
      return std::make_unique<AmxAttention<1>>();
    case 64:
      return std::make_unique<AmxAttention<2>>();
    case 96:
      return std::make_unique<AmxAttention<3>>();
    case 128:
      return std::make_unique<AmxAttention<4>>();
    case 160:
      return std::make_unique<AmxAttention<5>>();
    case 192:
      return std::make_unique<AmxAttention<6>>();
    case 256:
      return std::make_unique<AmxAttention<8>>();
    default:
      return nullptr;
  }
}

#else
std::unique_ptr<PackedAttention> MakeAmxAttention(int64_t) { return nullptr; }
#endif

}  // namespace skipserve::cpu
