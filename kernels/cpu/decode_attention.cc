#include "kernels/cpu/decode_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "hwy/cache_control.h"
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

template <class D>
HWY_INLINE hn::Vec<D> LoadKv(D d, const float* p) {
  return hn::LoadU(d, p);
}
template <class D>
HWY_INLINE hn::Vec<D> LoadKv(D d, const hwy::bfloat16_t* p) {
  return hn::PromoteTo(d, hn::LoadU(hn::Rebind<hwy::bfloat16_t, D>(), p));
}

// score[i][key] = q[i] . k[key] for kQ queries and 4 keys. One accumulator per score: its rounding
// does not depend on how many queries share the tile.
template <int kQ, class D, class T>
HWY_INLINE void ScoreTile(D d, const float* const* q, const T* const* k, int64_t dim,
                          float* const* score) {
  using V = hn::Vec<D>;
  V acc[kQ][kKeys];
  for (int i = 0; i < kQ; ++i) {
    for (int r = 0; r < kKeys; ++r) acc[i][r] = hn::Zero(d);
  }
  for (int64_t j = 0; j < dim; j += hn::Lanes(d)) {
    V kv[kKeys];
    for (int r = 0; r < kKeys; ++r) kv[r] = LoadKv(d, k[r] + j);
    for (int i = 0; i < kQ; ++i) {
      const V qv = hn::LoadU(d, q[i] + j);
      for (int r = 0; r < kKeys; ++r) acc[i][r] = hn::MulAdd(qv, kv[r], acc[i][r]);
    }
  }
  for (int i = 0; i < kQ; ++i) {
    for (int r = 0; r < kKeys; ++r) score[i][r] = hn::GetLane(hn::SumOfLanes(d, acc[i][r]));
  }
}

// o[i] = sum over keys of p[i][key] * v[key], kVecs vectors of the head from element j on.
template <int kQ, int kVecs, class D, class T>
HWY_INLINE void ValueTile(D d, const float* const* p, const T* const* v, int64_t count, int64_t j,
                          float* const* o) {
  using V = hn::Vec<D>;
  const size_t n = hn::Lanes(d);
  V acc[kQ][kVecs];
  for (int i = 0; i < kQ; ++i) {
    for (int c = 0; c < kVecs; ++c) acc[i][c] = hn::Zero(d);
  }
  for (int64_t t = 0; t < count; ++t) {
    V vv[kVecs];
    for (int c = 0; c < kVecs; ++c) vv[c] = LoadKv(d, v[t] + j + c * n);
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

template <class T>
struct Split {
  int64_t dim = 0;
  int64_t count = 0;
  float scale = 0.0f;
  const T* k[kDecodeSplit + kKeys];
  const T* v[kDecodeSplit];
};

// Pages of the pool are read in pieces too short for the machine to foresee: told in advance, and
// with the heads of a token read one after the other, 8,000 tokens are read at 21 GB/s instead
// of 12.
template <class T>
HWY_INLINE void FetchRow(const T* row, int64_t dim) {
  for (int64_t j = 0; j < dim; j += 64 / static_cast<int64_t>(sizeof(T))) hwy::Prefetch(row + j);
}

template <int kQ, class D, class T>
HWY_INLINE void AttendQueries(D d, const Split<T>& s, const float* const* q, const int64_t* seen,
                              float* const* partial) {
  HWY_ALIGN float scores[kQ][kDecodeSplit];
  for (int64_t t = 0; t < s.count; t += kKeys) {
    constexpr int64_t kAhead = 16;  // keys
    for (int64_t i = t; i < std::min(s.count, t + kKeys); ++i) {
      FetchRow(s.v[i], s.dim);
      if (i + kAhead < s.count) FetchRow(s.k[i + kAhead], s.dim);
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
  for (; j + 4 * n <= s.dim; j += 4 * n) ValueTile<kQ, 4>(d, p, s.v, s.count, j, o);
  for (; j < s.dim; j += n) ValueTile<kQ, 1>(d, p, s.v, s.count, j, o);
}

template <class D, class T>
void RunSplitAs(D d, const KvSegment& segment, int64_t kv_head, int64_t split, TensorView q,
                int64_t group, const KvPool& pool, float* partials, int64_t stride) {
  Split<T> s;
  s.dim = pool.layout.head_dim;
  s.scale = 1.44269504f / std::sqrt(static_cast<float>(s.dim));
  const int64_t begin = split * kDecodeSplit;
  s.count = std::min(kDecodeSplit, segment.kv_len - begin);
  KvRows<T>(pool, segment, kv_head, begin, s.count, s.k, s.v);
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
                  int64_t group, const KvPool& pool, float* partials, int64_t stride) {
  if (pool.layout.dtype == DType::kF32) {
    RunSplitAs<D, float>(d, segment, kv_head, split, q, group, pool, partials, stride);
  } else {
    RunSplitAs<D, hwy::bfloat16_t>(d, segment, kv_head, split, q, group, pool, partials, stride);
  }
}

void RunSplit(const KvSegment& segment, int64_t kv_head, int64_t split, TensorView q, int64_t group,
              const KvPool& pool, float* partials, int64_t stride) {
  const hn::ScalableTag<float> wide;
  const hn::CappedTag<float, 8> narrow;  // divides every head_dim, so no tail is ever needed
  if (pool.layout.head_dim % hn::Lanes(wide) == 0) {
    RunSplitWith(wide, segment, kv_head, split, q, group, pool, partials, stride);
  } else {
    RunSplitWith(narrow, segment, kv_head, split, q, group, pool, partials, stride);
  }
}

}  // namespace
}  // namespace skipserve::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skipserve::cpu {

HWY_EXPORT(RunSplit);

void DecodeSplit(const KvSegment& segment, int64_t kv_head, int64_t split, TensorView q,
                 int64_t group, const KvPool& pool, float* partials, int64_t stride) {
  HWY_DYNAMIC_DISPATCH(RunSplit)(segment, kv_head, split, q, group, pool, partials, stride);
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
