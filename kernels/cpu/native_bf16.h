// bf16 by the machine's own instructions, where it has them.
#pragma once

#include <cstdint>

#include "kernels/cpu/four_bit_weights.h"

namespace skipserve::cpu {

// As RoundToBf16, but numbers below 2^-126 may become 0, as the machine's products take them.
void RoundToBf16Native(const float* from, int64_t n, uint16_t* to);

// The weights in bf16, outputs of the blocks [begin, end), as TiledWeights has them. Only where
// CpuHasFastBf16.
void WidenToBf16(const FourBitWeights& w, int64_t begin, int64_t end, uint32_t* to);

}  // namespace skipserve::cpu
