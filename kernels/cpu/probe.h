// The attention probe's arithmetic: scores of a few queries against blocks of candidates, in two
// passes because the softmax of a query needs all candidates first. Vector lanes are candidates.
// Thread-safe: works in given scratch.
#pragma once

#include <cstdint>

#include "kernels/ops.h"

namespace skipserve::cpu {

constexpr int64_t kProbeBlock =
    480;  // candidates; a multiple of every target's tile of 12, 24 or 48

size_t ProbeScratchBytes(const ProbeParams& params);

// Per (head, query), at index head * q.rows + query: largest score and sum of 2^(score - largest)
// over the candidates of the block that the query sees. `max` and `sum` are [heads, window].
void ProbeSums(TensorView q, TensorView k, const ProbeParams& params, int64_t block, void* scratch,
               float* max, float* sum);

// Reduced probabilities of the block's candidates, before pooling; max and inverse_sum over all
// candidates.
void ProbeReduce(TensorView q, TensorView k, const ProbeParams& params, int64_t block,
                 const float* max, const float* inverse_sum, void* scratch, float* scores);

// out[i] = max of x over the neighbours within `reach` of i.
void MaxPool(const float* x, int64_t n, int64_t reach, float* out);

}  // namespace skipserve::cpu
