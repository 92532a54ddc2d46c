// Attention of prompts on integers, for AVX512-VNNI: flash attention over key blocks whose queries,
// K and V are rounded to 8 bits, each vector in the basis of RotateRow with a scale of its own, so
// that what a row computes depends on no key that it does not see. Weights have 15 bits below the
// largest of a row's block, V's scale in them: with 8 bits, many small weights beside a large one
// would vanish. Sums of products are exact.
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/cpu/packed_attention.h"

namespace skipserve::cpu {

// Null where the machine has no VNNI or head_dim is no multiple of 64. Over a pool of bf16 or of 8
// bits.
std::unique_ptr<PackedAttention> MakeInt8Attention(int64_t head_dim);

}  // namespace skipserve::cpu
