#include "kernels/cpu/decode_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "hwy/cache_control.h"
#include "kernels/cpu/row_kernels.h"
#include "kernels/kv_slot.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/decode_attention.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/cpu/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skipserve::cpu::HWY_NAMESPACE {
namespace {

constexpr int64_t kMaxQueries = 3;  // at once: 3 x 4 accumulators
constexpr int64_t kKeys = 4;
constexpr float kLowest = std::numeric_limits<float>::lowest();

// A K or V vector in float32 or bf16, or in 8 bits.
template <class T>
struct PlainRow {
  static constexpr bool kFetchesNext = false;  // that would push V out of L1
  const T* at;

  template <class D>
  HWY_INLINE hn::Vec<D> Load(D d, int64_t j) const {
    if constexpr (sizeof(T) == sizeof(float)) {
      return hn::LoadU(d, at + j);
    } else {
      return hn::PromoteTo(d, hn::LoadU(hn::Rebind<T, D>(), at + j));
    }
  }
};
struct CodeRow {
  static constexpr bool kFetchesNext = true;  // saves a tenth of the time
  const int8_t* at;
  const float* scales;

  template <class D>
  HWY_INLINE hn::Vec<D> Load(D d, int64_t j) const {
    const auto codes = hn::LoadU(hn::Rebind<int8_t, D>(), at + j);
    return hn::Mul(hn::ConvertTo(d, hn::PromoteTo(hn::RebindToSigned<D>(), codes)),
                   hn::Set(d, scales[j / KvLayout::kGroup]));
  }
};

// Stores the sum of a vector's blocks of four lanes.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void StoreBlocksSum(D d, V v, float* to) {
  if constexpr (hn::MaxLanes(d) == 4) {
    hn::StoreU(v, d, to);
  } else {
    const hn::Half<D> half;
    StoreBlocksSum(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)), to);
  }
}

// The sums of four vectors' lanes.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void StoreSums(D d, const V (&v)[kKeys], float* sums) {
  static_assert(kKeys == 4);
  const hn::RepartitionToWide<D> d2;
  const auto by_twos = [&](V a, V b) {
    return hn::BitCast(d2, hn::Add(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b)));
  };
  const auto a = by_twos(v[0], v[1]), b = by_twos(v[2], v[3]);
  StoreBlocksSum(d,
                 hn::Add(hn::BitCast(d, hn::InterleaveLower(d2, a, b)),
                         hn::BitCast(d, hn::InterleaveUpper(d2, a, b))),
                 sums);
}

// score[i][key] = q[i] . k[key] for kQ queries and 4 keys. One accumulator per score: its rounding
// does not depend on how many queries share the tile.
template <int kQ, class D, class Row>
HWY_INLINE void ScoreTile(D d, const float* const* q, const Row* k, int64_t dim,
                          float* const* score) {
  using V = hn::Vec<D>;
  V acc[kQ][kKeys];
  for (int i = 0; i < kQ; ++i) {
    for (int r = 0; r < kKeys; ++r) acc[i][r] = hn::Zero(d);
  }
  for (int64_t j = 0; j < dim; j += hn::Lanes(d)) {
    V kv[kKeys];
    for (int r = 0; r < kKeys; ++r) kv[r] = k[r].Load(d, j);
    for (int i = 0; i < kQ; ++i) {
      const V qv = hn::LoadU(d, q[i] + j);
      for (int r = 0; r < kKeys; ++r) acc[i][r] = hn::MulAdd(qv, kv[r], acc[i][r]);
    }
  }
  for (int i = 0; i < kQ; ++i) StoreSums(d, acc[i], score[i]);
}

// Pages of the pool are read in pieces too short for the machine to foresee: told in advance, and
// with the heads of a token read one after the other, 8,000 tokens are read at 21 GB/s instead
// of 12.
template <class T>
HWY_INLINE void Fetch(const T* at, int64_t count) {
  for (int64_t j = 0; j < count; j += 64 / static_cast<int64_t>(sizeof(T))) hwy::Prefetch(at + j);
}

// o[i] = sum over keys of p[i][key] * v[key], kVecs vectors of the head from element j on. Beside
// that it may fetch what lies `ahead` bytes after k.
template <int kQ, int kVecs, class D, class Row>
HWY_INLINE void ValueTile(D d, const float* const* p, const Row* k, int64_t ahead, const Row* v,
                          int64_t count, int64_t j, float* const* o) {
  using V = hn::Vec<D>;
  const size_t n = hn::Lanes(d);
  V acc[kQ][kVecs];
  for (int i = 0; i < kQ; ++i) {
    for (int c = 0; c < kVecs; ++c) acc[i][c] = hn::Zero(d);
  }
  for (int64_t t = 0; t < count; ++t) {
    if constexpr (Row::kFetchesNext) {
      if (ahead != 0) Fetch(k[t].at + ahead + j, kVecs * n);
    }
    V vv[kVecs];
    for (int c = 0; c < kVecs; ++c) vv[c] = v[t].Load(d, j + c * n);
    for (int i = 0; i < kQ; ++i) {
      const V w = hn::Set(d, p[i][t]);
      for (int c = 0; c < kVecs; ++c) acc[i][c] = hn::MulAdd(w, vv[c], acc[i][c]);
    }
  }
  for (int i = 0; i < kQ; ++i) {
    for (int c = 0; c < kVecs; ++c) hn::StoreU(acc[i][c], d, o[i] + j + c * n);
  }
}

// Turns dot products into weights 2^(scale * dot - max); partial[0] = max, partial[1] = sum. Keys
// from `seen` on weigh 0.
void Weigh(float* score, int64_t count, int64_t seen, float scale, float* partial) {
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  const int64_t n = hn::Lanes(d);
  // Lanes are filled up to a whole vector, so that every length takes the same path.
  const int64_t padded = (count + n - 1) / n * n;
  std::fill(score + seen, score + padded, -std::numeric_limits<float>::infinity());
  V max = hn::Set(d, kLowest);
  for (int64_t i = 0; i < padded; i += n) {
    const V x = hn::Mul(hn::Load(d, score + i), hn::Set(d, scale));
    hn::Store(x, d, score + i);
    max = hn::Max(max, x);
  }
  max = hn::MaxOfLanes(d, max);
  V sum = hn::Zero(d);
  for (int64_t i = 0; i < padded; i += n) {
    const V e = Exp2NonPositive(d, hn::Sub(hn::Load(d, score + i), max));
    hn::Store(e, d, score + i);
    sum = hn::Add(sum, e);
  }
  partial[0] = hn::GetLane(max);
  partial[1] = hn::GetLane(hn::SumOfLanes(d, sum));
}

template <class Row>
struct Split {
  int64_t dim = 0;
  int64_t count = 0;
  float scale = 0.0f;
  int64_t ahead = 0;  // bytes from K to that of the next head, where it is to be fetched
  Row k[kDecodeSplit + kKeys];
  Row v[kDecodeSplit];
};

template <int kQ, class D, class Row>
HWY_INLINE void AttendQueries(D d, const Split<Row>& s, const float* const* q, const int64_t* seen,
                              float* const* partial) {
  HWY_ALIGN float scores[kQ][kDecodeSplit];
  for (int64_t t = 0; t < s.count; t += kKeys) {
    constexpr int64_t kAhead = 16;  // keys
    for (int64_t i = t; i < std::min(s.count, t + kKeys); ++i) {
      Fetch(s.v[i].at, s.dim);
      if (i + kAhead < s.count) Fetch(s.k[i + kAhead].at, s.dim);
    }
    float* at[kQ];
    for (int i = 0; i < kQ; ++i) at[i] = scores[i] + t;
    ScoreTile<kQ>(d, q, s.k + t, s.dim, at);
  }
  const float* p[kQ];
  float* o[kQ];
  for (int i = 0; i < kQ; ++i) {
    Weigh(scores[i], s.count, seen[i], s.scale, partial[i]);
    p[i] = scores[i];
    o[i] = partial[i] + 2;
  }
  const int64_t n = hn::Lanes(d);
  int64_t j = 0;
  for (; j + 4 * n <= s.dim; j += 4 * n) {
    ValueTile<kQ, 4>(d, p, s.k, s.ahead, s.v, s.count, j, o);
  }
  for (; j < s.dim; j += n) ValueTile<kQ, 1>(d, p, s.k, s.ahead, s.v, s.count, j, o);
}

// Rows of a split's K (or V), where they lie. Scales of codes are widened to `room`.
template <class T>
void FindRows(const KvPool& pool, const KvSegment& segment, int64_t kv_head, bool is_v,
              int64_t begin, int64_t count, bool /*next*/, float* /*room*/, PlainRow<T>* rows) {
  const T* at[kDecodeSplit];
  KvRows<T>(pool, segment, kv_head, is_v, begin, count, at);
  for (int64_t i = 0; i < count; ++i) rows[i].at = at[i];
}
void FindRows(const KvPool& pool, const KvSegment& segment, int64_t kv_head, bool is_v,
              int64_t begin, int64_t count, bool next, float* room, CodeRow* rows) {
  const int8_t* at[kDecodeSplit];
  KvRows<int8_t>(pool, segment, kv_head, is_v, begin, count, at);
  const int64_t groups = pool.layout.groups();
  if (is_v) room += kDecodeSplit * groups;
  ForKvRuns(pool.layout, begin, count, [&](int64_t i, int64_t run) {
    const auto scales = [&](int64_t head) {
      return KvScales(pool, segment, begin + i, head, is_v);
    };
    ExpandBf16(scales(kv_head), run * groups, room + i * groups);
    if (next) Fetch(scales(kv_head + 1), run * groups);
  });
  for (int64_t i = 0; i < count; ++i) rows[i] = {at[i], room + i * groups};
}

template <class Row, class D>
void RunSplitAs(D d, const KvSegment& segment, int64_t kv_head, int64_t split, TensorView q,
                int64_t group, const KvPool& pool, bool next, float* room, float* partials,
                int64_t stride) {
  Split<Row> s;
  s.dim = pool.layout.head_dim;
  s.scale = 1.44269504f / std::sqrt(static_cast<float>(s.dim));
  const int64_t begin = split * kDecodeSplit;
  s.count = std::min(kDecodeSplit, segment.kv_len - begin);
  FindRows(pool, segment, kv_head, false, begin, s.count, next, room, s.k);
  FindRows(pool, segment, kv_head, true, begin, s.count, next, room, s.v);
  for (int64_t r = 0; r < kKeys; ++r) s.k[s.count + r] = s.k[s.count - 1];  // fills the last tile

  const float* q_at[kMaxQueries];
  float* partial[kMaxQueries];
  int64_t seen[kMaxQueries];
  const int64_t queries = segment.row_count * group;
  for (int64_t first = 0; first < queries; first += kMaxQueries) {
    const int64_t num = std::min(kMaxQueries, queries - first);
    for (int64_t i = 0; i < num; ++i) {
      const int64_t row = (first + i) / group;
      const int64_t head = kv_head * group + (first + i) % group;
      q_at[i] = q.data + (segment.row_begin + row) * q.stride + head * s.dim;
      partial[i] = partials + (first + i) * stride;
      const int64_t visible = segment.kv_len - segment.row_count + row + 1 - begin;
      seen[i] = std::clamp<int64_t>(visible, 0, s.count);
    }
    if (next && first + num == queries) {
      s.ahead = KvSlot(pool, segment, begin, kv_head + 1, false) -
                KvSlot(pool, segment, begin, kv_head, false);
    }
    if (num == 3) {
      AttendQueries<3>(d, s, q_at, seen, partial);
    } else if (num == 2) {
      AttendQueries<2>(d, s, q_at, seen, partial);
    } else {
      AttendQueries<1>(d, s, q_at, seen, partial);
    }
  }
}

template <class D>
void RunSplitWith(D d, const KvSegment& segment, int64_t kv_head, int64_t split, TensorView q,
                  int64_t group, const KvPool& pool, bool next, float* room, float* partials,
                  int64_t stride) {
  const auto run = [&](auto row) {
    RunSplitAs<decltype(row)>(d, segment, kv_head, split, q, group, pool, next, room, partials,
                              stride);
  };
  switch (pool.layout.dtype) {
    case DType::kF32:
      return run(PlainRow<float>());
    case DType::kBF16:
      return run(PlainRow<hwy::bfloat16_t>());
    case DType::kInt8:
      return run(CodeRow());
  }
}

void RunSplit(const KvSegment& segment, int64_t kv_head, int64_t split, TensorView q, int64_t group,
              const KvPool& pool, bool next, float* room, float* partials, int64_t stride) {
  const hn::ScalableTag<float> wide;
  const hn::CappedTag<float, 8> narrow;  // divides every head_dim, so no tail is ever needed
  if (pool.layout.head_dim % hn::Lanes(wide) == 0) {
    RunSplitWith(wide, segment, kv_head, split, q, group, pool, next, room, partials, stride);
  } else {
    RunSplitWith(narrow, segment, kv_head, split, q, group, pool, next, room, partials, stride);
  }
}

}  // namespace
}  // namespace skipserve::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skipserve::cpu {

HWY_EXPORT(RunSplit);

void DecodeSplit(const KvSegment& segment, int64_t kv_head, int64_t split, TensorView q,
                 int64_t group, const KvPool& pool, bool next, float* room, float* partials,
                 int64_t stride) {
  HWY_DYNAMIC_DISPATCH(RunSplit)
  (segment, kv_head, split, q, group, pool, next, room, partials, stride);
}

void MergeSplits(const float* partials, int64_t splits, int64_t stride, int64_t head_dim,
                 float* out) {
  float max = partials[0];
  for (int64_t s = 1; s < splits; ++s) max = std::max(max, partials[s * stride]);
  float sum = 0.0f;
  std::fill_n(out, head_dim, 0.0f);
  for (int64_t s = 0; s < splits; ++s) {
    const float* partial = partials + s * stride;
    const float weight = std::exp2(partial[0] - max);
    sum += weight * partial[1];
    for (int64_t j = 0; j < head_dim; ++j) out[j] += weight * partial[2 + j];
  }
  for (int64_t j = 0; j < head_dim; ++j) out[j] /= sum;
}

}  // namespace skipserve::cpu
#endif  // HWY_ONCE
