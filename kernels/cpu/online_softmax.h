// The middle step of flash attention between two matrix products: a tile of scores becomes bf16
// weights, and what earlier key blocks left is rescaled. Thread-safe: no state.
#pragma once

#include <cstdint>

namespace skipserve::cpu {

struct SoftmaxTile {
  int64_t rows = 0;
  int64_t keys = 0;  // of the tile; a multiple of 64
  int64_t dim = 0;   // of an output row
  float scale = 0;   // log2(e) / sqrt(head_dim): a score is a power of two's exponent
  const int32_t* visible =
      nullptr;                    // [rows] how many of the tile's first keys a row sees, 0 .. keys
  const float* scores = nullptr;  // [rows, keys]
  uint16_t* weights = nullptr;    // [rows, keys] bf16 bits out; 0 where a key is not seen
  float* max = nullptr;           // [rows] largest scaled score so far
  float* sum = nullptr;           // [rows] sum of weights so far, relative to max
  float* out = nullptr;           // [rows, dim] weighted sum of V so far, rescaled to the new max
};

void OnlineSoftmax(const SoftmaxTile& tile);

}  // namespace skipserve::cpu
