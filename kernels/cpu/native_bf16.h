// bf16 by the machine's own instructions.
#pragma once

#include <cstdint>

namespace skipserve::cpu {

// Whether it has them (AVX512-BF16 or AMX).
bool CpuHasBf16();

// Whether it multiplies bf16 faster than float32: with AMX, and where a short measurement, made
// once, says so. SKIPSERVE_FAST_BF16=0 or 1 in the environment decides instead of it.
bool CpuHasFastBf16();

// As RoundToBf16, but numbers below 2^-126 may become 0, as the machine's products take them.
void RoundToBf16Native(const float* from, int64_t n, uint16_t* to);

}  // namespace skipserve::cpu
