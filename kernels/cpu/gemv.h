// out = a W^T for a few rows of a: the decode step's product, bound by reading W once. Each output
// is one dot product summed in an order that depends on the inner length alone, so a row's result
// is the same in any batch, bit for bit. Thread-safe: no state.
#pragma once

#include <cstdint>

#include "kernels/tensor.h"

namespace skipserve::cpu {

constexpr int64_t kGemvGroup =
    12;  // rows of W that stay in cache while all rows of a pass over them

// Columns [begin, end) of out; w [out.cols, a.cols] row-major, float or bf16 bits by `dtype`.
void Gemv(TensorView a, const void* w, DType dtype, int64_t begin, int64_t end, TensorView out);

}  // namespace skipserve::cpu
