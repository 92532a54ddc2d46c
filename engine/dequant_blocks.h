// One function per block format: its bytes to 32 or 256 floats. Included by dequant.cc only, which
// is compiled so that these loops become vector code; loops of fixed length over bytes, no
// branches.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/half.h"

namespace skipserve {

inline float HalfAt(const uint8_t* p) {
  uint16_t half;
  std::memcpy(&half, p, sizeof(half));
  return HalfToF32(half);
}

// --- blocks of 32: element j is a low half-byte for j < 16, a high one from there ----------------

// half d; 16 bytes: d (q - 8)
inline void Q4_0Block(const uint8_t* __restrict in, float* __restrict out) {
  const float d = HalfAt(in);
  const uint8_t* q = in + 2;
  for (int j = 0; j < 16; ++j) out[j] = d * static_cast<float>((q[j] & 15) - 8);
  for (int j = 0; j < 16; ++j) out[j + 16] = d * static_cast<float>((q[j] >> 4) - 8);
}

// half d, half m; 16 bytes: d q + m
inline void Q4_1Block(const uint8_t* __restrict in, float* __restrict out) {
  const float d = HalfAt(in), m = HalfAt(in + 2);
  const uint8_t* q = in + 4;
  for (int j = 0; j < 16; ++j) out[j] = d * static_cast<float>(q[j] & 15) + m;
  for (int j = 0; j < 16; ++j) out[j + 16] = d * static_cast<float>(q[j] >> 4) + m;
}

// 32 elements' codes.
inline void UnpackNibbles(const uint8_t* __restrict q, uint8_t* __restrict codes) {
  for (int j = 0; j < 16; ++j) codes[j] = q[j] & 15;
  for (int j = 0; j < 16; ++j) codes[j + 16] = q[j] >> 4;
}

inline void Q4_0Codes(const uint8_t* in, uint8_t* codes, float* scale, float* minimum) {
  *scale = HalfAt(in);
  *minimum = -8.0f * *scale;
  UnpackNibbles(in + 2, codes);
}

inline void Q4_1Codes(const uint8_t* in, uint8_t* codes, float* scale, float* minimum) {
  *scale = HalfAt(in);
  *minimum = HalfAt(in + 2);
  UnpackNibbles(in + 4, codes);
}

// The fifth bits of a block: bit j of 4 little-endian bytes, as 0 or 16.
inline void FifthBits(const uint8_t* in, uint8_t* out) {
  uint32_t bits;
  std::memcpy(&bits, in, sizeof(bits));
  for (int j = 0; j < 32; ++j) out[j] = static_cast<uint8_t>(((bits >> j) & 1u) << 4);
}

// half d; 4 bytes of fifth bits; 16 bytes: d (q - 16)
inline void Q5_0Block(const uint8_t* __restrict in, float* __restrict out) {
  const float d = HalfAt(in);
  uint8_t high[32];
  FifthBits(in + 2, high);
  const uint8_t* q = in + 6;
  for (int j = 0; j < 16; ++j) out[j] = d * static_cast<float>(((q[j] & 15) | high[j]) - 16);
  for (int j = 0; j < 16; ++j) {
    out[j + 16] = d * static_cast<float>(((q[j] >> 4) | high[j + 16]) - 16);
  }
}

// half d, half m; 4 bytes of fifth bits; 16 bytes: d q + m
inline void Q5_1Block(const uint8_t* __restrict in, float* __restrict out) {
  const float d = HalfAt(in), m = HalfAt(in + 2);
  uint8_t high[32];
  FifthBits(in + 4, high);
  const uint8_t* q = in + 8;
  for (int j = 0; j < 16; ++j) out[j] = d * static_cast<float>((q[j] & 15) | high[j]) + m;
  for (int j = 0; j < 16; ++j) {
    out[j + 16] = d * static_cast<float>((q[j] >> 4) | high[j + 16]) + m;
  }
}

// half d; 32 signed bytes: d q
inline void Q8_0Block(const uint8_t* __restrict in, float* __restrict out) {
  const float d = HalfAt(in);
  for (int j = 0; j < 32; ++j) out[j] = d * static_cast<float>(static_cast<int8_t>(in[2 + j]));
}

// --- blocks of 256 -------------------------------------------------------------------------------

// Eight 6-bit scales and eight 6-bit minima in 12 bytes; the upper four of each have their top two
// bits in the top bits of the lower four.
inline void UnpackScales(const uint8_t* in, uint8_t* scale, uint8_t* minimum) {
  for (int j = 0; j < 4; ++j) {
    scale[j] = in[j] & 63;
    minimum[j] = in[j + 4] & 63;
    scale[j + 4] = static_cast<uint8_t>((in[j + 8] & 15) | ((in[j] >> 6) << 4));
    minimum[j + 4] = static_cast<uint8_t>((in[j + 8] >> 4) | ((in[j + 4] >> 6) << 4));
  }
}

// half d, half dmin; 12 bytes of scales; 128 bytes: group g of 32 is (d scale[g]) q - dmin min[g],
// groups 2i and 2i + 1 in the low and high half-bytes of the same 32 bytes.
inline void Q4_KBlock(const uint8_t* __restrict in, float* __restrict out) {
  const float d = HalfAt(in), dmin = HalfAt(in + 2);
  uint8_t scale[8], minimum[8];
  UnpackScales(in + 4, scale, minimum);
  for (int pair = 0; pair < 4; ++pair) {
    const uint8_t* q = in + 16 + 32 * pair;
    float* o = out + 64 * pair;
    const float d0 = d * scale[2 * pair], m0 = dmin * minimum[2 * pair];
    const float d1 = d * scale[2 * pair + 1], m1 = dmin * minimum[2 * pair + 1];
    for (int j = 0; j < 32; ++j) o[j] = d0 * static_cast<float>(q[j] & 15) - m0;
    for (int j = 0; j < 32; ++j) o[j + 32] = d1 * static_cast<float>(q[j] >> 4) - m1;
  }
}

inline void Q4_KCodes(const uint8_t* __restrict in, uint8_t* __restrict codes,
                      float* __restrict scales, float* __restrict minima) {
  const float d = HalfAt(in), dmin = HalfAt(in + 2);
  uint8_t scale[8], minimum[8];
  UnpackScales(in + 4, scale, minimum);
  for (int group = 0; group < 8; ++group) {
    scales[group] = d * scale[group];
    minima[group] = -(dmin * minimum[group]);
    const uint8_t* q = in + 16 + 32 * (group / 2);
    const int shift = group % 2 * 4;
    for (int j = 0; j < 32; ++j) codes[32 * group + j] = (q[j] >> shift) & 15;
  }
}

// As Q4_K, with 32 bytes of fifth bits before the half-bytes: bit g of byte j belongs to group g.
inline void Q5_KBlock(const uint8_t* __restrict in, float* __restrict out) {
  const float d = HalfAt(in), dmin = HalfAt(in + 2);
  uint8_t scale[8], minimum[8];
  UnpackScales(in + 4, scale, minimum);
  const uint8_t* high = in + 16;
  for (int pair = 0; pair < 4; ++pair) {
    const uint8_t* q = in + 48 + 32 * pair;
    float* o = out + 64 * pair;
    const float d0 = d * scale[2 * pair], m0 = dmin * minimum[2 * pair];
    const float d1 = d * scale[2 * pair + 1], m1 = dmin * minimum[2 * pair + 1];
    for (int j = 0; j < 32; ++j) {
      o[j] = d0 * static_cast<float>((q[j] & 15) | (((high[j] >> (2 * pair)) & 1) << 4)) - m0;
    }
    for (int j = 0; j < 32; ++j) {
      o[j + 32] =
          d1 * static_cast<float>((q[j] >> 4) | (((high[j] >> (2 * pair + 1)) & 1) << 4)) - m1;
    }
  }
}

// 128 bytes of low half-bytes, 64 bytes of high bit pairs, 16 signed scales, half d: group s of 16
// is (d scale[s]) (q - 32). Each half of the block has four runs of 32 elements: run r takes its
// low bits from half-byte r / 2 of bytes 32 (r % 2) .., its high bits from pair r of 32 bytes.
inline void Q6_KBlock(const uint8_t* __restrict in, float* __restrict out) {
  const float d = HalfAt(in + 208);
  for (int half = 0; half < 2; ++half) {
    const uint8_t* low = in + 64 * half;
    const uint8_t* high = in + 128 + 32 * half;
    const uint8_t* scales = in + 192 + 8 * half;
    float* o = out + 128 * half;
    for (int run = 0; run < 4; ++run) {
      const uint8_t* q = low + 32 * (run % 2);
      const int shift = run < 2 ? 0 : 4;
      for (int part = 0; part < 2; ++part) {
        const float ds = d * static_cast<float>(static_cast<int8_t>(scales[2 * run + part]));
        for (int j = 16 * part; j < 16 * part + 16; ++j) {
          const int value = ((q[j] >> shift) & 15) | (((high[j] >> (2 * run)) & 3) << 4);
          o[32 * run + j] = ds * static_cast<float>(value - 32);
        }
      }
    }
  }
}

}  // namespace skipserve
