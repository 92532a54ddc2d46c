// Scalar bfloat16: the upper half of a float32. Conversions only; arithmetic is done in float32.
#pragma once

#include <bit>
#include <cstdint>

namespace skipserve {

inline float Bf16ToF32(uint16_t x) { return std::bit_cast<float>(uint32_t{x} << 16); }

// Rounds to nearest even; a NaN stays a NaN.
inline uint16_t F32ToBf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace skipserve
