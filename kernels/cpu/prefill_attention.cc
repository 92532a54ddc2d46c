#include "kernels/cpu/prefill_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/kv_codes.h"
#include "kernels/cpu/row_kernels.h"
#include "kernels/kv_slot.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/prefill_attention.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/cpu/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skipserve::cpu::HWY_NAMESPACE {
namespace {

constexpr int64_t kKeyBlock = 128;  // K and V of a block of head_dim 64 are 64 KiB: they stay in L2
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;
constexpr size_t kRows = kTileRows;
// Read as they lie, the fours of V are a cache line each from rows a power of two apart: they evict
// one another from L1 (76 against 87 GFLOP/s on Zen 3). 16 floats more than [kKeyBlock, 4] keep the
// writes from doing so too.
constexpr int64_t kVStride = kKeyBlock * kRows + 16;
constexpr size_t kVecs = kTileVectors;

size_t Width() { return kVecs * hn::Lanes(D()); }

// Everything a task keeps between key blocks, panel by panel of Width() columns.
struct State {
  int64_t dim = 0;
  int64_t panels = 0;
  float* q = nullptr;  // [panels, dim, width], scaled so that a score is a power of two's exponent
  float* o = nullptr;  // [panels, dim, width], not yet divided by l
  float* m = nullptr;  // [panels, width] largest score so far
  float* l = nullptr;  // [panels, width] sum of weights so far
  float* limit = nullptr;  // [panels, width] last token that the column sees
  float* p = nullptr;      // [kKeyBlock, width] scores, then weights, of one panel and key block
  float* k = nullptr;      // [kKeyBlock, dim] K of a block in float32
  float* v =
      nullptr;  // [dim / 4, kVStride] V of a block by fours of dimensions, [kKeyBlock, 4] each
  float* widened = nullptr;  // [dim] a token's V, where it is kept in 8 bits
};

size_t Layout(int64_t num_rows, int64_t group, const KvLayout& layout, float* base, State& s) {
  const int64_t width = static_cast<int64_t>(Width());
  s.dim = layout.head_dim;
  s.panels = (num_rows * group + width - 1) / width;
  size_t used = 0;
  const auto take = [&](int64_t n) {
    float* at = base + used;
    used += (static_cast<size_t>(n) + 15) / 16 * 16;
    return at;
  };
  s.q = take(s.panels * s.dim * width);
  s.o = take(s.panels * s.dim * width);
  s.m = take(s.panels * width);
  s.l = take(s.panels * width);
  s.limit = take(s.panels * width);
  s.p = take(kKeyBlock * width);
  s.k = take(kKeyBlock * s.dim);
  s.v = take(s.dim / kRows * kVStride);
  s.widened = take(s.dim);
  return used * sizeof(float);
}

size_t ScratchBytes(int64_t num_rows, int64_t group, const KvLayout& layout) {
  alignas(64) float base[1];
  State s;
  return Layout(num_rows, group, layout, base, s);
}

// Column c of the task is row c / group, head c % group. Columns past the last repeat it and are
// dropped at the end.
void LoadQueries(const PrefillTask& t, TensorView q, int64_t group, State& s) {
  const int64_t width = static_cast<int64_t>(Width());
  const int64_t columns = t.num_rows * group;
  const float scale = 1.44269504f / std::sqrt(static_cast<float>(s.dim));
  const int64_t first_token = t.segment->kv_len - t.segment->row_count + t.first_row;
  for (int64_t c = 0; c < s.panels * width; ++c) {
    const int64_t column = std::min(c, columns - 1);
    const int64_t row = t.segment->row_begin + t.first_row + column / group;
    const float* from = q.data + row * q.stride + (t.kv_head * group + column % group) * s.dim;
    float* to = s.q + c / width * s.dim * width + c % width;
    for (int64_t j = 0; j < s.dim; ++j) to[j * width] = from[j] * scale;
    s.limit[c] = static_cast<float>(first_token + column / group);
    s.m[c] = std::numeric_limits<float>::lowest();
    s.l[c] = 0.0f;
  }
  std::fill_n(s.o, s.panels * s.dim * width, 0.0f);
}

void StoreOutput(const PrefillTask& t, int64_t group, const State& s, TensorView out) {
  const int64_t width = static_cast<int64_t>(Width());
  for (int64_t c = 0; c < t.num_rows * group; ++c) {
    const int64_t row = t.segment->row_begin + t.first_row + c / group;
    float* to = out.data + row * out.stride + (t.kv_head * group + c % group) * s.dim;
    const float* from = s.o + c / width * s.dim * width + c % width;
    const float inverse = 1.0f / s.l[c];
    for (int64_t j = 0; j < s.dim; ++j) to[j] = from[j * width] * inverse;
  }
}

// Spreads one token's V over the fours.
template <class T>
void SpreadValues(const T* HWY_RESTRICT v, int64_t dim, float* HWY_RESTRICT to) {
  const hn::CappedTag<float, 4> d;
  const hn::Rebind<T, decltype(d)> from;
  for (int64_t j = 0; j < dim; j += kRows, to += kVStride) {
    if constexpr (sizeof(T) == sizeof(float)) {
      hn::StoreU(hn::LoadU(from, v + j), d, to);
    } else {
      hn::StoreU(hn::PromoteTo(d, hn::LoadU(from, v + j)), d, to);
    }
  }
}

// Makes k and v of tokens [begin, begin + count).
template <class T>
void LoadKeysAs(const PrefillTask& t, const KvPool& pool, int64_t begin, int64_t count, State& s) {
  const T* k[kKeyBlock];
  const T* v[kKeyBlock];
  KvRows<T>(pool, *t.segment, t.kv_head, false, begin, count, k);
  KvRows<T>(pool, *t.segment, t.kv_head, true, begin, count, v);
  for (int64_t i = 0; i < count; ++i) {
    if constexpr (sizeof(T) == sizeof(float)) {
      std::copy_n(k[i], s.dim, s.k + i * s.dim);
    } else {
      ExpandBf16(reinterpret_cast<const uint16_t*>(k[i]), s.dim, s.k + i * s.dim);
    }
    SpreadValues(v[i], s.dim, s.v + i * kRows);
  }
}

void LoadCodes(const PrefillTask& t, const KvPool& pool, int64_t begin, int64_t count, State& s) {
  const int8_t* codes[kKeyBlock];
  const uint16_t* scales[kKeyBlock];
  for (const bool is_v : {false, true}) {
    KvCodeRows(pool, *t.segment, t.kv_head, is_v, begin, count, codes, scales);
    for (int64_t i = 0; i < count; ++i) {
      float* const to = is_v ? s.widened : s.k + i * s.dim;
      ExpandKv(codes[i], scales[i], s.dim, to);
      if (is_v) SpreadValues(s.widened, s.dim, s.v + i * kRows);
    }
  }
}

void LoadKeys(const PrefillTask& t, const KvPool& pool, int64_t begin, int64_t count, State& s) {
  switch (pool.layout.dtype) {
    case DType::kF32:
      return LoadKeysAs<float>(t, pool, begin, count, s);
    case DType::kBF16:
      return LoadKeysAs<hwy::bfloat16_t>(t, pool, begin, count, s);
    case DType::kInt8:
      return LoadCodes(t, pool, begin, count, s);
  }
}

// p = scores of `count` keys from token `begin` on; raises m to each column's largest.
HWY_NOINLINE void Scores(const State& s, int64_t panel, int64_t begin, int64_t count,
                         V (&m)[kVecs]) {
  const D d;
  const size_t n = hn::Lanes(d);
  const float* q = s.q + panel * s.dim * Width();
  const float* limit = s.limit + panel * Width();
  const int64_t unmasked =
      static_cast<int64_t>(limit[0]) + 1 - begin;  // keys that every column sees
  const V minus_inf = hn::Set(d, -std::numeric_limits<float>::infinity());
  float* p = s.p;
  for (int64_t i = 0; i < count; i += kRows) {
    V tile[kRows][kVecs];
    const float* k = s.k + i * s.dim;  // past `count` left-overs, which are masked
    const float* const rows[kRows] = {k, k + s.dim, k + 2 * s.dim, k + 3 * s.dim};
    DotTile(d, rows, q, s.dim, tile);
    if (i + static_cast<int64_t>(kRows) > unmasked) {
      for (size_t r = 0; r < kRows; ++r) {
        const V token = hn::Set(d, static_cast<float>(begin + i + static_cast<int64_t>(r)));
        for (size_t c = 0; c < kVecs; ++c) {
          tile[r][c] =
              hn::IfThenElse(hn::Le(token, hn::Load(d, limit + c * n)), tile[r][c], minus_inf);
        }
      }
    }
    for (size_t c = 0; c < kVecs; ++c) {
      m[c] =
          hn::Max(m[c], hn::Max(hn::Max(tile[0][c], tile[1][c]), hn::Max(tile[2][c], tile[3][c])));
      for (size_t r = 0; r < kRows; ++r) hn::Store(tile[r][c], d, p + (r * kVecs + c) * n);
    }
    p += kRows * kVecs * n;
  }
}

// Turns scores into weights 2^(score - m) and adds them up.
HWY_NOINLINE void Weights(float* HWY_RESTRICT p, int64_t count, const V (&m)[kVecs],
                          V (&sum)[kVecs]) {
  const D d;
  const size_t n = hn::Lanes(d);
  const V m0 = m[0], m1 = m[1], m2 = m[2];
  V s0 = hn::Zero(d), s1 = s0, s2 = s0;
  for (int64_t i = 0; i < count; ++i, p += kVecs * n) {
    const V e0 = Exp2NonPositive(d, hn::Sub(hn::Load(d, p), m0));
    const V e1 = Exp2NonPositive(d, hn::Sub(hn::Load(d, p + n), m1));
    const V e2 = Exp2NonPositive(d, hn::Sub(hn::Load(d, p + 2 * n), m2));
    hn::Store(e0, d, p);
    hn::Store(e1, d, p + n);
    hn::Store(e2, d, p + 2 * n);
    s0 = hn::Add(s0, e0);
    s1 = hn::Add(s1, e1);
    s2 = hn::Add(s2, e2);
  }
  sum[0] = s0, sum[1] = s1, sum[2] = s2;
}

// o = o * alpha + V^T p, four dimensions of the head at a time.
HWY_NOINLINE void Accumulate(const State& s, int64_t count, const V (&alpha)[kVecs],
                             float* HWY_RESTRICT o) {
  const D d;
  const size_t n = hn::Lanes(d);
  const float* HWY_RESTRICT v = s.v;
  for (int64_t j = 0; j < s.dim; j += kRows, o += kRows * kVecs * n, v += kVStride) {
    V o00 = hn::Mul(alpha[0], hn::Load(d, o)), o01 = hn::Mul(alpha[1], hn::Load(d, o + n));
    V o02 = hn::Mul(alpha[2], hn::Load(d, o + 2 * n)),
      o10 = hn::Mul(alpha[0], hn::Load(d, o + 3 * n));
    V o11 = hn::Mul(alpha[1], hn::Load(d, o + 4 * n)),
      o12 = hn::Mul(alpha[2], hn::Load(d, o + 5 * n));
    V o20 = hn::Mul(alpha[0], hn::Load(d, o + 6 * n)),
      o21 = hn::Mul(alpha[1], hn::Load(d, o + 7 * n));
    V o22 = hn::Mul(alpha[2], hn::Load(d, o + 8 * n)),
      o30 = hn::Mul(alpha[0], hn::Load(d, o + 9 * n));
    V o31 = hn::Mul(alpha[1], hn::Load(d, o + 10 * n)),
      o32 = hn::Mul(alpha[2], hn::Load(d, o + 11 * n));
    const float* HWY_RESTRICT p = s.p;
    for (int64_t i = 0; i < count; ++i, p += kVecs * n) {
      const V p0 = hn::Load(d, p);
      const V p1 = hn::Load(d, p + n);
      const V p2 = hn::Load(d, p + 2 * n);
      V x = hn::Set(d, v[i * kRows + 0]);
      o00 = hn::MulAdd(x, p0, o00);
      o01 = hn::MulAdd(x, p1, o01);
      o02 = hn::MulAdd(x, p2, o02);
      x = hn::Set(d, v[i * kRows + 1]);
      o10 = hn::MulAdd(x, p0, o10);
      o11 = hn::MulAdd(x, p1, o11);
      o12 = hn::MulAdd(x, p2, o12);
      x = hn::Set(d, v[i * kRows + 2]);
      o20 = hn::MulAdd(x, p0, o20);
      o21 = hn::MulAdd(x, p1, o21);
      o22 = hn::MulAdd(x, p2, o22);
      x = hn::Set(d, v[i * kRows + 3]);
      o30 = hn::MulAdd(x, p0, o30);
      o31 = hn::MulAdd(x, p1, o31);
      o32 = hn::MulAdd(x, p2, o32);
    }
    hn::Store(o00, d, o), hn::Store(o01, d, o + n), hn::Store(o02, d, o + 2 * n);
    hn::Store(o10, d, o + 3 * n), hn::Store(o11, d, o + 4 * n), hn::Store(o12, d, o + 5 * n);
    hn::Store(o20, d, o + 6 * n), hn::Store(o21, d, o + 7 * n), hn::Store(o22, d, o + 8 * n);
    hn::Store(o30, d, o + 9 * n), hn::Store(o31, d, o + 10 * n), hn::Store(o32, d, o + 11 * n);
  }
}

// One panel of columns against the loaded keys: the online softmax of flash attention.
void AttendPanel(const State& s, int64_t panel, int64_t begin, int64_t count) {
  const D d;
  const size_t n = hn::Lanes(d);
  float* m_at = s.m + panel * Width();
  float* l_at = s.l + panel * Width();
  V m[kVecs], alpha[kVecs], sum[kVecs];
  for (size_t c = 0; c < kVecs; ++c) m[c] = hn::Load(d, m_at + c * n);
  Scores(s, panel, begin, count, m);
  Weights(s.p, count, m, sum);
  for (size_t c = 0; c < kVecs; ++c) {
    alpha[c] = Exp2NonPositive(d, hn::Sub(hn::Load(d, m_at + c * n), m[c]));
    hn::Store(m[c], d, m_at + c * n);
    hn::Store(hn::MulAdd(hn::Load(d, l_at + c * n), alpha[c], sum[c]), d, l_at + c * n);
  }
  Accumulate(s, count, alpha, s.o + panel * s.dim * Width());
}

void RunTask(const PrefillTask& task, TensorView q, int64_t group, const KvPool& pool,
             void* scratch, TensorView out) {
  State s;
  Layout(task.num_rows, group, pool.layout, static_cast<float*>(scratch), s);
  LoadQueries(task, q, group, s);
  const int64_t width = static_cast<int64_t>(Width());
  const int64_t visible = static_cast<int64_t>(s.limit[s.panels * width - 1]) + 1;
  for (int64_t begin = 0; begin < visible; begin += kKeyBlock) {
    const int64_t count = std::min(kKeyBlock, visible - begin);
    LoadKeys(task, pool, begin, count, s);
    for (int64_t panel = 0; panel < s.panels; ++panel) {
      // Keys past a panel's last column are not touched; limits ascend within a panel.
      const int64_t seen = static_cast<int64_t>(s.limit[(panel + 1) * width - 1]) + 1 - begin;
      if (seen > 0) AttendPanel(s, panel, begin, std::min(kKeyBlock, seen));
    }
  }
  StoreOutput(task, group, s, out);
}

int64_t TileColumns() { return static_cast<int64_t>(Width()); }

}  // namespace
}  // namespace skipserve::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skipserve::cpu {

HWY_EXPORT(TileColumns);
HWY_EXPORT(ScratchBytes);
HWY_EXPORT(RunTask);

int64_t PrefillTileColumns() { return HWY_DYNAMIC_DISPATCH(TileColumns)(); }

size_t PrefillScratchBytes(int64_t num_rows, int64_t group, const KvLayout& layout) {
  return HWY_DYNAMIC_DISPATCH(ScratchBytes)(num_rows, group, layout);
}

void PrefillAttention(const PrefillTask& task, TensorView q, int64_t group, const KvPool& pool,
                      void* scratch, TensorView out) {
  HWY_DYNAMIC_DISPATCH(RunTask)(task, q, group, pool, scratch, out);
}

}  // namespace skipserve::cpu
#endif  // HWY_ONCE
