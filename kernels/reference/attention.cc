// The paged KV cache and causal attention over it, one query row and head at a time.
#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/bf16.h"
#include "kernels/kv_slot.h"
#include "kernels/reference/reference_ops.h"

namespace skipserve {
namespace {

void Store(const float* from, std::byte* to, const KvLayout& layout) {
  if (layout.dtype == DType::kF32) {
    std::copy_n(from, layout.head_dim, reinterpret_cast<float*>(to));
  } else {
    std::transform(from, from + layout.head_dim, reinterpret_cast<uint16_t*>(to), F32ToBf16);
  }
}

float Element(const std::byte* vec, int64_t i, DType dtype) {
  return dtype == DType::kF32 ? reinterpret_cast<const float*>(vec)[i]
                              : Bf16ToF32(reinterpret_cast<const uint16_t*>(vec)[i]);
}

// out = softmax(q K^T / sqrt(head_dim)) V over the first `visible` tokens of one KV head's cache.
void AttendOne(const float* q, const KvSegment& segment, const KvPool& pool, int64_t kv_head,
               int64_t visible, std::vector<float>& p, float* out) {
  const int64_t d = pool.layout.head_dim;
  const DType dtype = pool.layout.dtype;
  const float scale = 1.0f / std::sqrt(static_cast<float>(d));
  p.resize(visible);
  float max = -std::numeric_limits<float>::infinity();
  for (int64_t t = 0; t < visible; ++t) {
    const std::byte* k = KvSlot(pool, segment, t, kv_head, /*is_v=*/false);
    float dot = 0.0f;
    for (int64_t j = 0; j < d; ++j) dot += q[j] * Element(k, j, dtype);
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
    const std::byte* v = KvSlot(pool, segment, t, kv_head, /*is_v=*/true);
    for (int64_t j = 0; j < d; ++j) out[j] += p[t] / sum * Element(v, j, dtype);
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
        Store(k.data + (s.row_begin + i) * k.stride + col, KvSlot(pool, s, token, h, false),
              layout);
        Store(v.data + (s.row_begin + i) * v.stride + col, KvSlot(pool, s, token, h, true), layout);
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
