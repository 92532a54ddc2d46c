// bf16 by the machine's own instructions, where it has them. CpuHasFastBf16 is true with AMX, and
// with AVX512-BF16 where a short measurement, made once, finds products of bf16 faster than of
// float32; SKIPSERVE_FAST_BF16=0 or 1 in the environment decides instead of it.
#pragma once

#include <cstdint>

namespace skipserve::cpu {

// Whether it has them.
bool CpuHasBf16();

// As RoundToBf16, but numbers below 2^-126 may become 0, as the machine's products take them.
void RoundToBf16Native(const float* from, int64_t n, uint16_t* to);

}  // namespace skipserve::cpu
