// Attention of prompts for machines that multiply bf16 fast: on AMX tiles, or, where there are
// none, with oneDNN's matmul. Queries and weights are rounded to bf16 (a weight on AMX errs by 0.72
// % at most, see there), sums are float32. Over a pool of bf16, or of 8 bits, rounded to bf16 once
// they are widened.
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/cpu/packed_attention.h"

namespace skipserve::cpu {

// Null where the machine has no such product.
std::unique_ptr<PackedAttention> MakeBf16Attention(int64_t head_dim);

}  // namespace skipserve::cpu
