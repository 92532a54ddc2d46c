// Where a token's K or V lies in a paged pool: the one place that knows the layout inside a block.
#pragma once

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

}  // namespace skipserve
