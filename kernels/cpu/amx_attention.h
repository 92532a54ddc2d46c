// Attention of prompts on AMX tiles: flash attention turned on its side. Scores are K q^T and
// outputs V^T p, so that K is read as it lies in the cache, a softmax runs along vectors of 16
// queries without a sum across lanes, and its weights are the second product's right side as they
// are written. Over 8,000 tokens it takes about half of the time that oneDNN's products take.
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/cpu/packed_attention.h"

namespace skipserve::cpu {

// Null where the machine has no AMX, the kernel does not lend it, or head_dim is no multiple of 32.
std::unique_ptr<PackedAttention> MakeAmxAttention(int64_t head_dim);

}  // namespace skipserve::cpu
