// Where a token's K or V lies in a paged pool: the one place that knows the layout inside a block.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/ops.h"

namespace skipserve {

// First byte of the K (or V) vector of one KV head for token `token` of `segment`'s cache.
inline std::byte* KvSlot(const KvPool& pool, const KvSegment& segment, int64_t token,
                         int64_t kv_head, bool is_v) {
  const KvLayout& l = pool.layout;
  const int64_t block = segment.blocks.data[token / l.block_tokens];
  const int64_t row =
      (int64_t{is_v} * l.kv_heads + kv_head) * l.block_tokens + token % l.block_tokens;
  return static_cast<std::byte*>(pool.data) + block * static_cast<int64_t>(l.block_bytes()) +
         row * l.head_dim * static_cast<int64_t>(DTypeBytes(l.dtype));
}

// Points k_rows[i] and v_rows[i] at the vectors of token begin + i, 0 <= i < count. T is the pool's
// element type.
template <class T>
void KvRows(const KvPool& pool, const KvSegment& segment, int64_t kv_head, int64_t begin,
            int64_t count, const T** k_rows, const T** v_rows) {
  const int64_t block_tokens = pool.layout.block_tokens;
  for (int64_t i = 0; i < count;) {
    const int64_t run = std::min(block_tokens - (begin + i) % block_tokens, count - i);
    const auto* k = reinterpret_cast<const T*>(KvSlot(pool, segment, begin + i, kv_head, false));
    const auto* v = reinterpret_cast<const T*>(KvSlot(pool, segment, begin + i, kv_head, true));
    for (const int64_t end = i + run; i < end;
         ++i, k += pool.layout.head_dim, v += pool.layout.head_dim) {
      k_rows[i] = k;
      v_rows[i] = v;
    }
  }
}

// Where part `part` of hidden state row `row` lies: columns from part * StateColumns on. Parts of a
// row are in blocks that follow each other in `blocks`.
inline std::byte* StateSlot(const KvPool& pool, IndexView blocks, int64_t parts, DType dtype,
                            int64_t row, int64_t part) {
  const KvLayout& l = pool.layout;
  const int64_t block = blocks.data[row / l.block_tokens * parts + part];
  return static_cast<std::byte*>(pool.data) + block * static_cast<int64_t>(l.block_bytes()) +
         row % l.block_tokens * StateColumns(l, dtype) * static_cast<int64_t>(DTypeBytes(dtype));
}

}  // namespace skipserve
