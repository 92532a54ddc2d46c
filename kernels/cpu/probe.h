// The attention probe's arithmetic on one block of candidates, for some query heads of one KV head.
// The softmax of a query needs all candidates first, so there are two passes: weights relative to
// the block's own largest score, then, with the scale of every block known, the reductions. Vector
// lanes are candidates. Thread-safe: works in given memory.
#pragma once

#include <cstdint>

#include "kernels/ops.h"

namespace skipserve::cpu {

constexpr int64_t kProbeBlock =
    480;  // candidates; a multiple of every target's tile of 12, 24 or 48

// Query heads [first_head, first_head + num_heads), all of one KV head. A column is one (head,
// query) pair.
struct ProbeHeads {
  int64_t first_head = 0;
  int64_t num_heads = 0;
};

// Floats of weights that one block takes: [num_heads * window rounded up to whole tiles,
// kProbeBlock].
int64_t ProbeWeightFloats(int64_t num_heads, int64_t window);

// First pass: weights 2^(score - largest) of each column, 0 where its query does not see the
// candidate; the columns' largest scores and sums of weights. keys: working memory of [head_dim,
// kProbeBlock] floats.
void ProbeWeigh(TensorView q, TensorView k, const ProbeParams& params, ProbeHeads heads,
                int64_t block, float* keys, float* weights, float* max, float* sum);

// Second pass: reduces weight * scale[column] over the window and adds the heads to `total`
// [kProbeBlock] by the head reduction. Means divide by their counts here.
void ProbeReduce(const ProbeParams& params, int64_t window, ProbeHeads heads, const float* weights,
                 const float* scale, float* total);

// out[i] = max of x over the neighbours within `reach` of i.
void MaxPool(const float* x, int64_t n, int64_t reach, float* out);

}  // namespace skipserve::cpu
