// K and V in 8 bits (kernels/kv_codes.h) on vectors: the same bits on every instruction set. n is a
// multiple of 8. Thread-safe: no state.
#pragma once

#include <cstdint>

namespace skipserve::cpu {

void EncodeKv(const float* from, int64_t n, int8_t* codes, uint16_t* scales);

void ExpandKv(const int8_t* codes, const uint16_t* scales, int64_t n, float* to);

}  // namespace skipserve::cpu
