// bf16 by the machine's own instructions, where it has them.
#pragma once

#include <cstdint>

namespace skipserve::cpu {

// As RoundToBf16, but numbers below 2^-126 may become 0, as the machine's products take them.
void RoundToBf16Native(const float* from, int64_t n, uint16_t* to);

}  // namespace skipserve::cpu
