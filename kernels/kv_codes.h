// K and V in 8 bits: runs of KvLayout::kGroup elements share a scale, the code of the largest
// magnitude is 127 or just below it, and the rest is rounded to nearest even. Scales are bf16,
// rounded up, so that no code overflows. An element errs by half a scale at most, but in groups
// below 1e-30, which become zeros.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/bf16.h"
#include "kernels/ops.h"

namespace skipserve {

// The scale of a group whose largest magnitude is `most`: 0 where it is next to nothing, NaN where
// it is not finite.
inline uint16_t KvScale(float most) {
  constexpr float kTiny = 1e-30f;
  if (!std::isfinite(most)) return 0x7FC0;
  if (most < kTiny) return 0;
  return static_cast<uint16_t>((std::bit_cast<uint32_t>(most / 127.0f) + 0xFFFFu) >> 16);
}

// What a group's elements are multiplied by to become codes; 0 makes all of them 0.
inline float KvInverse(uint16_t scale) {
  const float by = Bf16ToF32(scale);
  return by > 0.0f ? 1.0f / by : 0.0f;
}

// One vector of n elements, the plain way.
inline void ToKvCodes(const float* from, int64_t n, int8_t* codes, uint16_t* scales) {
  for (int64_t begin = 0; begin < n; begin += KvLayout::kGroup) {
    const int64_t end = std::min<int64_t>(n, begin + KvLayout::kGroup);
    float most = 0.0f, bad = 0.0f;
    for (int64_t i = begin; i < end; ++i) {
      most = std::max(most, std::abs(from[i]));
      bad += from[i] * 0.0f;
    }
    const uint16_t scale = scales[begin / KvLayout::kGroup] = KvScale(most + bad);
    const float by = KvInverse(scale);
    for (int64_t i = begin; i < end; ++i) {
      codes[i] = by == 0.0f ? int8_t{0} : static_cast<int8_t>(std::nearbyint(from[i] * by));
    }
  }
}

}  // namespace skipserve
