// A block of keys as attention in 8 bits takes them: codes of K and V, each vector in the basis of
// RotateRow with a scale of its own, or what a row computes would depend on keys that it does not
// see.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/carver.h"
#include "kernels/cpu/scratch.h"
#include "kernels/ops.h"

namespace skipserve::cpu {

struct Int8Keys {
  static constexpr int64_t kCount = 128;  // whose K and V of 64 elements fill half of L1

  uint32_t* k;        // [dim / 4, kCount] four codes a word
  int32_t* k_offset;  // [kCount] what sums start from, as q's codes are unsigned
  float* k_scale;     // [kCount]
  uint32_t* v;        // [kCount / 2, dim] codes of two keys a word, 16 bits each
  float* v_exponent;  // [kCount] log2 of V's scale
  float* v_inverse;   // [kCount] 1 / V's scale

  // Over memory of Bytes(dim).
  Int8Keys(int64_t dim, std::byte* at) : Int8Keys(dim, Carver(at)) {}
  static size_t Bytes(int64_t dim) {
    alignas(64) std::byte base[1];
    Carver carver(base);
    const Int8Keys measured(dim, carver);
    return carver.used();
  }

 private:
  Int8Keys(int64_t dim, Carver&& carver) : Int8Keys(dim, carver) {}
  Int8Keys(int64_t dim, Carver& carver)
      : k(carver.Take<uint32_t>(dim / 4 * kCount)),
        k_offset(carver.Take<int32_t>(kCount)),
        k_scale(carver.Take<float>(kCount)),
        v(carver.Take<uint32_t>(kCount / 2 * dim)),
        v_exponent(carver.Take<float>(kCount)),
        v_inverse(carver.Take<float>(kCount)) {}
};

// The keys from block * kCount on, of a pool of bf16 or of 8 bits; what follows the last token is
// zero. Only where VnniReady.
void PackInt8Keys(const KvSegment& segment, int64_t kv_head, int64_t block, const KvPool& pool,
                  Scratch& scratch, const Int8Keys& to);

}  // namespace skipserve::cpu
