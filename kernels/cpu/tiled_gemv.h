// out = a W^T for a decode step's few rows: one pass over the weights, which are what the time goes
// into. A row's sums depend on nothing but the row. Thread-safe.
#pragma once

#include <cstdint>

#include "kernels/cpu/tiled_weights.h"
#include "kernels/tensor.h"

namespace skipserve::cpu {

// Outputs of the blocks [begin, end), on vectors, activations in float32: for int8 weights the
// caller has rotated and rounded them.
void TiledGemv(TensorView a, const TiledWeights& w, int64_t begin, int64_t end, TensorView out);

// The blocks [begin, end) in float32 as the right side of a product, [k, 64 (end - begin)]; of int8
// scaled, and still rotated.
void WidenTiles(const TiledWeights& w, int64_t begin, int64_t end, float* to);

// A decode step's activations in the weights' own type.
struct TiledRows {
  int64_t rows = 0;  // at most 32
  // [rows, padded_inputs], where there are more than 16 [32, padded_inputs]; zeros past k and
  // `rows`.
  const void* values = nullptr;
  const float* scales = nullptr;  // [rows], of int8
};

// The same on AMX tiles, where AmxReady. 16 rows take hardly longer than one: of 32 streams that
// decode together each is 2.5 times as fast as with the vectors.
void AmxGemv(const TiledRows& a, const TiledWeights& w, int64_t begin, int64_t end, TensorView out);

// The same of int8, bit for bit, where VnniReady; a's codes are unsigned (ToUnsigned).
void VnniInt8Gemv(const TiledRows& a, const TiledWeights& w, int64_t begin, int64_t end,
                  TensorView out);

}  // namespace skipserve::cpu
