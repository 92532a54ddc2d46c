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
constexpr float kMinusInf = -std::numeric_limits<float>::infinity();

// A block of candidates and where its pieces lie in the scratch.
struct Block {
  int64_t begin = 0;
  int64_t count = 0;
  int64_t padded = 0;       // count up to whole tiles
  float* keys = nullptr;    // [panels, head_dim, tile width]: one KV head's candidates, transposed
  float* scores = nullptr;  // [4, kProbeBlock]: of four queries
  float* head_sum = nullptr;  // [kProbeBlock]: reduction over the window
};

int64_t Width() { return static_cast<int64_t>(kTileVectors * hn::Lanes(D())); }

Block MakeBlock(int64_t index, int64_t candidates, int64_t dim, void* scratch) {
  Block b;
  b.begin = index * kProbeBlock;
  b.count = std::min(kProbeBlock, candidates - b.begin);
  b.padded = (b.count + Width() - 1) / Width() * Width();
  b.keys = static_cast<float*>(scratch);
  b.scores = b.keys + kProbeBlock * dim;
  b.head_sum = b.scores + kTileRows * kProbeBlock;
  return b;
}

// Transposes one KV head's candidates, scaled so that a score is a power of two's exponent.
void PackKeys(TensorView k, int64_t kv_head, int64_t dim, const Block& b) {
  const float scale = 1.44269504f / std::sqrt(static_cast<float>(dim));
  for (int64_t c = 0; c < b.padded; ++c) {
    const float* from = k.data + (b.begin + std::min(c, b.count - 1)) * k.stride + kv_head * dim;
    float* to = b.keys + c / Width() * dim * Width() + c % Width();
    for (int64_t j = 0; j < dim; ++j) to[j * Width()] = from[j] * scale;
  }
}

// Scores of queries [first, first + 4) of a head against the block; -inf where a query does not see
// a candidate.
void Score(TensorView q, int64_t candidates, int64_t head, int64_t first, int64_t dim,
           const Block& b) {
  const D d;
  const int64_t n = hn::Lanes(d);
  const float* rows[kTileRows];
  for (int64_t r = 0; r < static_cast<int64_t>(kTileRows); ++r) {
    rows[r] = q.data + std::min(first + r, q.rows - 1) * q.stride + head * dim;
  }
  for (int64_t c = 0; c < b.padded; c += Width()) {
    V tile[kTileRows][kTileVectors];
    DotTile(d, rows, b.keys + c * dim, dim, tile);
    for (size_t r = 0; r < kTileRows; ++r) {
      for (size_t v = 0; v < kTileVectors; ++v)
        hn::Store(tile[r][v], d, b.scores + r * kProbeBlock + c + v * n);
    }
  }
  for (int64_t r = 0; r < static_cast<int64_t>(kTileRows); ++r) {
    const int64_t seen = candidates - q.rows + std::min(first + r, q.rows - 1) + 1 - b.begin;
    const int64_t limit = std::clamp<int64_t>(seen, 0, b.count);
    std::fill(b.scores + r * kProbeBlock + limit, b.scores + r * kProbeBlock + b.padded, kMinusInf);
  }
}

void Sums(TensorView q, TensorView k, const ProbeParams& params, int64_t block, void* scratch,
          float* max, float* sum) {
  const D d;
  const int64_t n = hn::Lanes(d);
  const int64_t dim = params.head_dim;
  const int64_t group = params.heads / params.kv_heads;
  const Block b = MakeBlock(block, k.rows, dim, scratch);
  for (int64_t head = 0; head < params.heads; ++head) {
    if (head % group == 0) PackKeys(k, head / group, dim, b);
    for (int64_t first = 0; first < q.rows; first += kTileRows) {
      Score(q, k.rows, head, first, dim, b);
      for (int64_t w = first; w < std::min<int64_t>(first + kTileRows, q.rows); ++w) {
        const float* s = b.scores + (w - first) * kProbeBlock;
        V m = hn::Set(d, std::numeric_limits<float>::lowest());
        for (int64_t i = 0; i < b.padded; i += n) m = hn::Max(m, hn::Load(d, s + i));
        m = hn::MaxOfLanes(d, m);
        V l = hn::Zero(d);
        for (int64_t i = 0; i < b.padded; i += n) {
          l = hn::Add(l, Exp2NonPositive(d, hn::Sub(hn::Load(d, s + i), m)));
        }
        max[head * q.rows + w] = hn::GetLane(m);
        sum[head * q.rows + w] = hn::GetLane(hn::SumOfLanes(d, l));
      }
    }
  }
}

HWY_INLINE V Combine(Reduce reduce, V a, V b) {
  return reduce == Reduce::kMax ? hn::Max(a, b) : hn::Add(a, b);
}

void ReduceBlock(TensorView q, TensorView k, const ProbeParams& params, int64_t block,
                 const float* max, const float* inverse_sum, void* scratch, float* scores) {
  const D d;
  const int64_t n = hn::Lanes(d);
  const int64_t dim = params.head_dim;
  const int64_t group = params.heads / params.kv_heads;
  const Block b = MakeBlock(block, k.rows, dim, scratch);
  const V window_scale = hn::Set(d, params.window_reduce == Reduce::kMean ? 1.0f / q.rows : 1.0f);
  const V head_scale = hn::Set(d, params.head_reduce == Reduce::kMean ? 1.0f / params.heads : 1.0f);
  float* total = b.head_sum + kProbeBlock;
  std::fill_n(total, b.padded, 0.0f);
  for (int64_t head = 0; head < params.heads; ++head) {
    if (head % group == 0) PackKeys(k, head / group, dim, b);
    std::fill_n(b.head_sum, b.padded, 0.0f);
    for (int64_t first = 0; first < q.rows; first += kTileRows) {
      Score(q, k.rows, head, first, dim, b);
      for (int64_t w = first; w < std::min<int64_t>(first + kTileRows, q.rows); ++w) {
        const float* s = b.scores + (w - first) * kProbeBlock;
        const V m = hn::Set(d, max[head * q.rows + w]);
        const V inverse = hn::Set(d, inverse_sum[head * q.rows + w]);
        for (int64_t i = 0; i < b.padded; i += n) {
          const V p = hn::Mul(Exp2NonPositive(d, hn::Sub(hn::Load(d, s + i), m)), inverse);
          hn::Store(Combine(params.window_reduce, hn::Load(d, b.head_sum + i), p), d,
                    b.head_sum + i);
        }
      }
    }
    for (int64_t i = 0; i < b.padded; i += n) {
      const V p = hn::Mul(hn::Load(d, b.head_sum + i), window_scale);
      hn::Store(Combine(params.head_reduce, hn::Load(d, total + i), p), d, total + i);
    }
  }
  for (int64_t i = 0; i < b.padded; i += n)
    hn::Store(hn::Mul(hn::Load(d, total + i), head_scale), d, total + i);
  std::copy_n(total, b.count, scores);
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

HWY_EXPORT(Sums);
HWY_EXPORT(ReduceBlock);
HWY_EXPORT(Pool);

size_t ProbeScratchBytes(const ProbeParams& params) {
  return kProbeBlock * (params.head_dim + 6) * sizeof(float);
}

void ProbeSums(TensorView q, TensorView k, const ProbeParams& params, int64_t block, void* scratch,
               float* max, float* sum) {
  HWY_DYNAMIC_DISPATCH(Sums)(q, k, params, block, scratch, max, sum);
}

void ProbeReduce(TensorView q, TensorView k, const ProbeParams& params, int64_t block,
                 const float* max, const float* inverse_sum, void* scratch, float* scores) {
  HWY_DYNAMIC_DISPATCH(ReduceBlock)(q, k, params, block, max, inverse_sum, scratch, scores);
}

void MaxPool(const float* x, int64_t n, int64_t reach, float* out) {
  HWY_DYNAMIC_DISPATCH(Pool)(x, n, reach, out);
}

}  // namespace skipserve::cpu
#endif  // HWY_ONCE
