#include "kernels/cpu/probe.h"

#include <algorithm>
#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/probe.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/cpu/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skipserve::cpu::HWY_NAMESPACE {
namespace {

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;
constexpr int64_t kRows = kTileRows;

int64_t Width() { return static_cast<int64_t>(kTileVectors * hn::Lanes(D())); }

// Transposes one KV head's candidates to panels [head_dim, Width()], scaled so that a score is a
// power of two's exponent. Writes run along lines; the other order took four times as long.
void PackKeys(TensorView k, int64_t kv_head, int64_t dim, int64_t begin, int64_t count, float* to) {
  const int64_t width = Width();
  const float scale = 1.44269504f / std::sqrt(static_cast<float>(dim));
  for (int64_t first = 0; first < count; first += width) {
    const float* rows[kProbeBlock];
    for (int64_t c = 0; c < width; ++c) {
      rows[c] = k.data + (begin + std::min(first + c, count - 1)) * k.stride + kv_head * dim;
    }
    for (int64_t j = 0; j < dim; ++j) {
      for (int64_t c = 0; c < width; ++c) *to++ = rows[c][j] * scale;
    }
  }
}

// Scores, in place of weights, of columns [column, column + 4) against `padded` candidates.
void Score(const float* const* q_rows, const float* keys, int64_t dim, int64_t padded,
           float* scores) {
  const D d;
  const int64_t n = hn::Lanes(d);
  for (int64_t c = 0; c < padded; c += Width()) {
    V tile[kTileRows][kTileVectors];
    DotTile(d, q_rows, keys + c * dim, dim, tile);
    for (size_t r = 0; r < kTileRows; ++r) {
      for (size_t v = 0; v < kTileVectors; ++v)
        hn::Store(tile[r][v], d, scores + r * kProbeBlock + c + v * n);
    }
  }
}

// Scores to weights; only the first `seen` candidates have any.
void Weights(float* HWY_RESTRICT s, int64_t seen, int64_t padded, float* max, float* sum) {
  const D d;
  const int64_t n = hn::Lanes(d);
  std::fill(s + seen, s + padded, -std::numeric_limits<float>::infinity());
  V m = hn::Set(d, std::numeric_limits<float>::lowest());
  for (int64_t i = 0; i < padded; i += n) m = hn::Max(m, hn::Load(d, s + i));
  m = hn::MaxOfLanes(d, m);
  V l = hn::Zero(d);
  for (int64_t i = 0; i < padded; i += n) {
    const V e = Exp2NonPositive(d, hn::Sub(hn::Load(d, s + i), m));
    hn::Store(e, d, s + i);
    l = hn::Add(l, e);
  }
  *max = hn::GetLane(m);
  *sum = hn::GetLane(hn::SumOfLanes(d, l));
}

void Weigh(TensorView q, TensorView k, const ProbeParams& params, ProbeHeads heads, int64_t block,
           float* keys, float* weights, float* max, float* sum) {
  const int64_t dim = params.head_dim;
  const int64_t begin = block * kProbeBlock;
  const int64_t count = std::min(kProbeBlock, k.rows - begin);
  const int64_t padded = (count + Width() - 1) / Width() * Width();
  PackKeys(k, heads.first_head / (params.heads / params.kv_heads), dim, begin, count, keys);
  const int64_t columns = heads.num_heads * q.rows;
  for (int64_t column = 0; column < columns; column += kRows, weights += kRows * kProbeBlock) {
    const float* rows[kRows];
    for (int64_t r = 0; r < kRows; ++r) {
      const int64_t at = std::min(column + r, columns - 1);
      rows[r] = q.data + at % q.rows * q.stride + (heads.first_head + at / q.rows) * dim;
    }
    Score(rows, keys, dim, padded, weights);
    for (int64_t r = 0; r < std::min(kRows, columns - column); ++r) {
      const int64_t visible = k.rows - q.rows + (column + r) % q.rows + 1 - begin;
      Weights(weights + r * kProbeBlock, std::clamp<int64_t>(visible, 0, count), padded,
              max + column + r, sum + column + r);
    }
  }
}

void ReduceHeads(const ProbeParams& params, int64_t window, ProbeHeads heads, const float* weights,
                 const float* scale, float* total) {
  const D d;
  const int64_t n = hn::Lanes(d);
  const bool window_max = params.window_reduce == Reduce::kMax;
  const bool head_max = params.head_reduce == Reduce::kMax;
  const V share = hn::Set(d, (window_max ? 1.0f : 1.0f / static_cast<float>(window)) *
                                 (head_max ? 1.0f : 1.0f / static_cast<float>(params.heads)));
  for (int64_t i = 0; i < kProbeBlock; i += n) {
    V all = hn::Load(d, total + i);
    for (int64_t h = 0; h < heads.num_heads; ++h) {
      V head = hn::Zero(d);
      for (int64_t c = h * window; c < (h + 1) * window; ++c) {
        const V p = hn::Mul(hn::Load(d, weights + c * kProbeBlock + i), hn::Set(d, scale[c]));
        head = window_max ? hn::Max(head, p) : hn::Add(head, p);
      }
      head = hn::Mul(head, share);
      all = head_max ? hn::Max(all, head) : hn::Add(all, head);
    }
    hn::Store(all, d, total + i);
  }
}

void Pool(const float* x, int64_t count, int64_t reach, float* out) {
  const D d;
  const int64_t n = hn::Lanes(d);
  int64_t i = 0;
  while (i < count) {
    if (i >= reach && i + n + reach <= count) {
      V m = hn::LoadU(d, x + i - reach);
      for (int64_t o = 1 - reach; o <= reach; ++o) m = hn::Max(m, hn::LoadU(d, x + i + o));
      hn::StoreU(m, d, out + i);
      i += n;
    } else {
      const int64_t end = std::min(count, i + reach + 1);
      out[i] = *std::max_element(x + std::max<int64_t>(0, i - reach), x + end);
      ++i;
    }
  }
}

}  // namespace
}  // namespace skipserve::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skipserve::cpu {

HWY_EXPORT(Weigh);
HWY_EXPORT(ReduceHeads);
HWY_EXPORT(Pool);

int64_t ProbeWeightFloats(int64_t num_heads, int64_t window) {
  constexpr int64_t kTile = 4;
  return (num_heads * window + kTile - 1) / kTile * kTile * kProbeBlock;
}

void ProbeWeigh(TensorView q, TensorView k, const ProbeParams& params, ProbeHeads heads,
                int64_t block, float* keys, float* weights, float* max, float* sum) {
  HWY_DYNAMIC_DISPATCH(Weigh)(q, k, params, heads, block, keys, weights, max, sum);
}

void ProbeReduce(const ProbeParams& params, int64_t window, ProbeHeads heads, const float* weights,
                 const float* scale, float* total) {
  HWY_DYNAMIC_DISPATCH(ReduceHeads)(params, window, heads, weights, scale, total);
}

void MaxPool(const float* x, int64_t n, int64_t reach, float* out) {
  HWY_DYNAMIC_DISPATCH(Pool)(x, n, reach, out);
}

}  // namespace skipserve::cpu
#endif  // HWY_ONCE
