// Attention of a few query rows over a long paged cache, the memory-bound case: K and V are read
// once for all query heads of a group, and a long cache is cut at fixed tokens into splits that run
// in parallel and are merged in order (flash decoding). A row's result depends on its own cache
// only. Thread-safe: works in the room it is given.
#pragma once

#include <cstdint>

#include "kernels/ops.h"

namespace skipserve::cpu {

constexpr int64_t kDecodeSplit =
    256;  // tokens; fixed, so that no batch and no thread count changes a result

// What a split leaves per query: largest score, sum of weights, and the weighted sum of V
// [head_dim].
inline int64_t DecodePartialFloats(int64_t head_dim) { return head_dim + 2; }

// Of 8 bits the scales of a split are widened to so many floats.
inline int64_t DecodeRoomFloats(const KvLayout& layout) {
  return layout.dtype == DType::kInt8 ? 2 * kDecodeSplit * layout.groups() : 0;
}

// Queries are the segment's rows times the heads of a group, row by row. Writes the partial of
// query i to partials + i * stride. Handles tokens [split * kDecodeSplit, ...) as far as each row
// sees. `next`: the same split of the next KV head comes next, whose K may be fetched beside.
void DecodeSplit(const KvSegment& segment, int64_t kv_head, int64_t split, TensorView q,
                 int64_t group, const KvPool& pool, bool next, float* room, float* partials,
                 int64_t stride);

// out [head_dim] = the attention that `splits` partials, `stride` floats apart, add up to.
void MergeSplits(const float* partials, int64_t splits, int64_t stride, int64_t head_dim,
                 float* out);

}  // namespace skipserve::cpu
