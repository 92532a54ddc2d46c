#include "kernels/cpu/int8_keys.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "kernels/cpu/kv_codes.h"
#include "kernels/cpu/quantize.h"
#include "kernels/cpu/row_kernels.h"
#include "kernels/cpu/vnni.h"
#include "kernels/kv_slot.h"

namespace skipserve::cpu {

#if defined(__x86_64__)
namespace {

constexpr int64_t kKeys = Int8Keys::kCount;
constexpr int64_t kLanes = 16;
constexpr float kLeastScale = 1e-30f;  // of a V of zeros, whose weight counts all the same

// K (or V) of tokens [begin, begin + count) in float32, [count, head_dim].
void ReadRows(const KvSegment& segment, int64_t kv_head, const KvPool& pool, bool is_v,
              int64_t begin, int64_t count, float* to) {
  const int64_t dim = pool.layout.head_dim;
  if (pool.layout.dtype == DType::kBF16) {
    const uint16_t* rows[kKeys];
    KvRows<uint16_t>(pool, segment, kv_head, is_v, begin, count, rows);
    for (int64_t i = 0; i < count; ++i) ExpandBf16(rows[i], dim, to + i * dim);
  } else {
    const int8_t* codes[kKeys];
    const uint16_t* scales[kKeys];
    KvCodeRows(pool, segment, kv_head, is_v, begin, count, codes, scales);
    for (int64_t i = 0; i < count; ++i) ExpandKv(codes[i], scales[i], dim, to + i * dim);
  }
}

// log2 of x > 0, NaN for NaN; the mantissa's by a polynomial (least maximum error, degree 5:
// 1e-05).
SKIPSERVE_VNNI inline __m512 Log2(__m512 x) {
  const __m512 f = _mm512_sub_ps(_mm512_getmant_ps(x, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_src),
                                 _mm512_set1_ps(1.0f));
  __m512 p = _mm512_set1_ps(0.0463852432f);
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(-0.196269388f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.417595606f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(-0.709662773f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.44196561f));
  return _mm512_fmadd_ps(p, f, _mm512_getexp_ps(x));
}

// Of codes [kKeys, dim] and scales.
SKIPSERVE_VNNI void PackKeys(const int8_t* codes, int64_t dim, const Int8Keys& to) {
  for (int64_t i = 0; i < kKeys; ++i) {
    to.k_offset[i] = -kUnsigned * std::accumulate(codes + i * dim, codes + (i + 1) * dim, 0);
  }
  for (int64_t w = 0; w < dim / 4; ++w) {
    for (int64_t i = 0; i < kKeys; ++i) {
      std::memcpy(to.k + w * kKeys + i, codes + i * dim + 4 * w, sizeof(uint32_t));
    }
  }
}

SKIPSERVE_VNNI void PackValues(const int8_t* codes, int64_t dim, const Int8Keys& to) {
  for (int64_t i = 0; i < kKeys; i += kLanes) {
    const __m512 scale =
        _mm512_max_ps(_mm512_set1_ps(kLeastScale), _mm512_loadu_ps(to.v_exponent + i));
    _mm512_storeu_ps(to.v_exponent + i, Log2(scale));
    _mm512_storeu_ps(to.v_inverse + i, _mm512_div_ps(_mm512_set1_ps(1.0f), scale));
  }
  // Weights leave packs_epi32 in fours of two vectors in turn.
  uint32_t* at = to.v;
  for (int64_t both = 0; both < kKeys; both += 2 * kLanes) {
    for (int64_t w = 0; w < kLanes; ++w, at += dim) {
      const int64_t key = both + w / 4 * 4 + w % 4 / 2 * kLanes + w % 2 * 2;
      const int8_t* const first = codes + key * dim;
      for (int64_t j = 0; j < dim; ++j) {
        at[j] = static_cast<uint16_t>(first[j]) | static_cast<uint32_t>(first[dim + j]) << 16;
      }
    }
  }
}

}  // namespace

void PackInt8Keys(const KvSegment& segment, int64_t kv_head, int64_t block, const KvPool& pool,
                  Scratch& scratch, const Int8Keys& keys) {
  const int64_t dim = pool.layout.head_dim;
  const int64_t begin = block * kKeys, count = std::min(kKeys, segment.kv_len - begin);
  float* const rows = scratch.Floats(kKeys * dim + kKeys * dim / sizeof(float));
  auto* const codes = reinterpret_cast<int8_t*>(rows + kKeys * dim);
  std::fill(codes + count * dim, codes + kKeys * dim, int8_t{0});
  std::fill(keys.k_scale + count, keys.k_scale + kKeys, 0.0f);
  std::fill(keys.v_exponent + count, keys.v_exponent + kKeys, 0.0f);
  ReadRows(segment, kv_head, pool, /*is_v=*/false, begin, count, rows);
  QuantizeRows(rows, count, dim, codes, keys.k_scale);
  PackKeys(codes, dim, keys);
  ReadRows(segment, kv_head, pool, /*is_v=*/true, begin, count, rows);
  QuantizeRows(rows, count, dim, codes, keys.v_exponent);
  PackValues(codes, dim, keys);
}
#else
void PackInt8Keys(const KvSegment&, int64_t, int64_t, const KvPool&, Scratch&, const Int8Keys&) {}
#endif

}  // namespace skipserve::cpu
