// Where a token's K or V lies in a paged pool: the one place that knows the layout inside a block.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/ops.h"

namespace skipserve {

// The block of a token.
inline std::byte* KvBlock(const KvPool& pool, const KvSegment& segment, int64_t token) {
  const int64_t block = segment.blocks.data[token / pool.layout.block_tokens];
  return static_cast<std::byte*>(pool.data) +
         block * static_cast<int64_t>(pool.layout.block_bytes());
}

// The number of a token's K (or V) vector of one KV head in its block.
inline int64_t KvRow(const KvLayout& l, int64_t token, int64_t kv_head, bool is_v) {
  return (int64_t{is_v} * l.kv_heads + kv_head) * l.block_tokens + token % l.block_tokens;
}

// First byte of the K (or V) vector of one KV head for token `token` of `segment`'s cache.
inline std::byte* KvSlot(const KvPool& pool, const KvSegment& segment, int64_t token,
                         int64_t kv_head, bool is_v) {
  const KvLayout& l = pool.layout;
  return KvBlock(pool, segment, token) +
         KvRow(l, token, kv_head, is_v) * l.head_dim * static_cast<int64_t>(DTypeBytes(l.dtype));
}

// And the scales of that vector, layout.groups() of them, of a pool in 8 bits.
inline uint16_t* KvScales(const KvPool& pool, const KvSegment& segment, int64_t token,
                          int64_t kv_head, bool is_v) {
  const KvLayout& l = pool.layout;
  std::byte* const scales = KvBlock(pool, segment, token) + l.value_bytes();
  return reinterpret_cast<uint16_t*>(scales) + KvRow(l, token, kv_head, is_v) * l.groups();
}

// Calls fn(i, run) for tokens [begin + i, begin + i + run), which lie one after the other in a
// block, until there were `count`.
template <class Fn>
void ForKvRuns(const KvLayout& l, int64_t begin, int64_t count, Fn fn) {
  for (int64_t i = 0; i < count;) {
    const int64_t run = std::min(l.block_tokens - (begin + i) % l.block_tokens, count - i);
    fn(i, run);
    i += run;
  }
}

// Points rows[i] at the K (or V) vector of token begin + i, 0 <= i < count. T is the pool's element
// type.
template <class T>
void KvRows(const KvPool& pool, const KvSegment& segment, int64_t kv_head, bool is_v, int64_t begin,
            int64_t count, const T** rows) {
  ForKvRuns(pool.layout, begin, count, [&](int64_t i, int64_t run) {
    const auto* row = reinterpret_cast<const T*>(KvSlot(pool, segment, begin + i, kv_head, is_v));
    for (const int64_t end = i + run; i < end; ++i, row += pool.layout.head_dim) rows[i] = row;
  });
}

// The same of a pool in 8 bits, with the scales of every vector.
inline void KvCodeRows(const KvPool& pool, const KvSegment& segment, int64_t kv_head, bool is_v,
                       int64_t begin, int64_t count, const int8_t** rows, const uint16_t** scales) {
  KvRows<int8_t>(pool, segment, kv_head, is_v, begin, count, rows);
  ForKvRuns(pool.layout, begin, count, [&](int64_t i, int64_t run) {
    const uint16_t* at = KvScales(pool, segment, begin + i, kv_head, is_v);
    for (const int64_t end = i + run; i < end; ++i, at += pool.layout.groups()) scales[i] = at;
  });
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
