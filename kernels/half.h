// Scalar float16, IEEE half precision. Conversions only.
#pragma once

#include <bit>
#include <cstdint>

namespace skipserve {

// Without a branch: normal numbers move their exponent, subnormal ones are the low bits of a float
// that starts at 0.5.
inline float HalfToF32(uint16_t half) {
  const uint32_t rest = half & 0x7FFFu;
  const uint32_t sign = (half & 0x8000u) << 16;
  const uint32_t moved = (rest << 13) + ((127u - 15u) << 23);
  const uint32_t infinite = rest >= 0x7C00u ? (255u - 31u - (127u - 15u)) << 23 : 0u;
  const uint32_t subnormal =
      std::bit_cast<uint32_t>(std::bit_cast<float>(rest + 0x3F000000u) - 0.5f);
  return std::bit_cast<float>(sign | (rest < 0x0400u ? subnormal : moved + infinite));
}

// Rounds to nearest even; a NaN stays a NaN.
inline uint16_t F32ToHalf(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t rest = bits & 0x7FFFFFFFu;
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t normal = (rest - ((127u - 15u) << 23) + 0xFFFu + ((rest >> 13) & 1u)) >> 13;
  const uint32_t subnormal =
      std::bit_cast<uint32_t>(std::bit_cast<float>(rest) + 0.5f) - 0x3F000000u;
  const uint32_t beyond = rest > 0x7F800000u ? 0x7E00u : 0x7C00u;  // of 65,536 on
  const uint32_t half = rest < 0x38800000u ? subnormal : rest < 0x47800000u ? normal : beyond;
  return static_cast<uint16_t>(sign | half);
}

}  // namespace skipserve
