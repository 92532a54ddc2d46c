// Causal attention of many query rows over a paged cache: blocks of keys, softmax carried along
// (flash attention). A column is one (query row, query head) pair of a KV head's group; vector
// lanes are columns, so only the queries are transposed. Thread-safe: works in the scratch it is
// given.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/ops.h"

namespace skipserve::cpu {

// The rows [first_row, first_row + num_rows) of a segment, counted from its first, for one KV head.
struct PrefillTask {
  const KvSegment* segment = nullptr;
  int64_t kv_head = 0;
  int64_t first_row = 0;
  int64_t num_rows = 0;
  const std::byte* keys = nullptr;  // the head's, where PackedAttention packs them for all tasks
};

// Columns that fill a register tile; a task of a multiple of these wastes nothing.
int64_t PrefillTileColumns();

size_t PrefillScratchBytes(int64_t num_rows, int64_t group, const KvLayout& layout);

// q and out as in Ops::Attention, group = heads / kv_heads.
void PrefillAttention(const PrefillTask& task, TensorView q, int64_t group, const KvPool& pool,
                      void* scratch, TensorView out);

}  // namespace skipserve::cpu
