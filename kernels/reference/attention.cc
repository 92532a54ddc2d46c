// The paged KV cache and causal attention over it, one query row and head at a time.
#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/bf16.h"
#include "kernels/kv_codes.h"
#include "kernels/kv_slot.h"
#include "kernels/reference/reference_ops.h"

namespace skipserve {
namespace {

// One KV head's K (or V) of a token.
struct KvVector {
  std::byte* values;
  uint16_t* scales;  // of 8 bits
  DType dtype;

  KvVector(const KvPool& pool, const KvSegment& s, int64_t token, int64_t kv_head, bool is_v)
      : values(KvSlot(pool, s, token, kv_head, is_v)),
        scales(pool.layout.dtype == DType::kInt8 ? KvScales(pool, s, token, kv_head, is_v)
                                                 : nullptr),
        dtype(pool.layout.dtype) {}

  void Set(const float* from, int64_t n) const {
    if (dtype == DType::kF32) {
      std::copy_n(from, n, reinterpret_cast<float*>(values));
    } else if (dtype == DType::kBF16) {
      std::transform(from, from + n, reinterpret_cast<uint16_t*>(values), F32ToBf16);
    } else {
      ToKvCodes(from, n, reinterpret_cast<int8_t*>(values), scales);
    }
  }
  float operator[](int64_t i) const {
    if (dtype == DType::kF32) return reinterpret_cast<const float*>(values)[i];
    if (dtype == DType::kBF16) return Bf16ToF32(reinterpret_cast<const uint16_t*>(values)[i]);
    return reinterpret_cast<const int8_t*>(values)[i] * Bf16ToF32(scales[i / KvLayout::kGroup]);
  }
};

// out = softmax(q K^T / sqrt(head_dim)) V over the first `visible` tokens of one KV head's cache.
void AttendOne(const float* q, const KvSegment& segment, const KvPool& pool, int64_t kv_head,
               int64_t visible, std::vector<float>& p, float* out) {
  const int64_t d = pool.layout.head_dim;
  const float scale = 1.0f / std::sqrt(static_cast<float>(d));
  p.resize(visible);
  float max = -std::numeric_limits<float>::infinity();
  for (int64_t t = 0; t < visible; ++t) {
    const KvVector k(pool, segment, t, kv_head, /*is_v=*/false);
    float dot = 0.0f;
    for (int64_t j = 0; j < d; ++j) dot += q[j] * k[j];
    p[t] = dot * scale;
    max = std::max(max, p[t]);
  }
  float sum = 0.0f;
  for (float& x : p) {
    x = std::exp(x - max);
    sum += x;
  }
  std::fill_n(out, d, 0.0f);
  for (int64_t t = 0; t < visible; ++t) {
    const KvVector v(pool, segment, t, kv_head, /*is_v=*/true);
    for (int64_t j = 0; j < d; ++j) out[j] += p[t] / sum * v[j];
  }
}

}  // namespace

void ReferenceOps::KvWrite(TensorView k, TensorView v, absl::Span<const KvSegment> segments,
                           const KvPool& pool) {
  const KvLayout& layout = pool.layout;
  assert(k.cols == layout.kv_heads * layout.head_dim && v.cols == k.cols);
  for (const KvSegment& s : segments) {
    for (int64_t i = 0; i < s.row_count; ++i) {
      const int64_t token = s.kv_len - s.row_count + i;
      for (int64_t h = 0; h < layout.kv_heads; ++h) {
        const int64_t col = h * layout.head_dim;
        KvVector(pool, s, token, h, false)
            .Set(k.data + (s.row_begin + i) * k.stride + col, layout.head_dim);
        KvVector(pool, s, token, h, true)
            .Set(v.data + (s.row_begin + i) * v.stride + col, layout.head_dim);
      }
    }
  }
}

void ReferenceOps::PrefillAttention(TensorView q, absl::Span<const KvSegment> segments,
                                    const KvPool& pool, TensorView out) {
  const int64_t d = pool.layout.head_dim;
  const int64_t heads = q.cols / d;
  const int64_t group = heads / pool.layout.kv_heads;
  assert(heads * d == q.cols && group * pool.layout.kv_heads == heads && out.cols == q.cols);
  std::vector<float> p;
  for (const KvSegment& s : segments) {
    for (int64_t i = 0; i < s.row_count; ++i) {
      const int64_t row = s.row_begin + i;
      for (int64_t h = 0; h < heads; ++h) {
        AttendOne(q.data + row * q.stride + h * d, s, pool, h / group,
                  s.kv_len - s.row_count + i + 1, p, out.data + row * out.stride + h * d);
      }
    }
  }
}

}  // namespace skipserve
