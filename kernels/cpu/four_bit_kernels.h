// How vectors read weights of 4 bits. A row's sums depend on nothing but the row. Thread-safe.
#pragma once

#include <cstdint>

#include "kernels/cpu/four_bit_weights.h"
#include "kernels/tensor.h"

namespace skipserve::cpu {

// A decode step's activations: value = scale of its group of 32 * code.
struct CodedRows {
  int64_t rows = 0;
  const int8_t* codes = nullptr;  // [rows, k]
  const float* scales = nullptr;  // [rows, k / 32]
  const float* sums = nullptr;    // likewise: of a group's values
};

// out = a W^T, outputs of the blocks [begin, end).
void FourBitGemv(const CodedRows& a, const FourBitWeights& w, int64_t begin, int64_t end,
                 TensorView out);

// The same, with FMA bit for bit, where VnniReady.
void VnniGemv(const CodedRows& a, const FourBitWeights& w, int64_t begin, int64_t end,
              TensorView out);

// The same bits on AMX tiles where AmxReady: from 5 rows on twice as fast. Reads up to 7 rows past
// the last, of which nothing is kept.
void AmxFourBitGemv(const CodedRows& a, const FourBitWeights& w, int64_t begin, int64_t end,
                    TensorView out);

// The weights in float32 as the right side of a product, [k, 64 (end - begin)].
void WidenToF32(const FourBitWeights& w, int64_t begin, int64_t end, float* to);

// The weights in bf16, outputs of the blocks [begin, end), as TiledWeights has them. Only where
// CpuHasBf16.
void WidenToBf16(const FourBitWeights& w, int64_t begin, int64_t end, uint32_t* to);

}  // namespace skipserve::cpu
