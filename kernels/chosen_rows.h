// What operations mean by rows of x: x[rows[i]], or, with empty `rows`, all of x in order.
#pragma once

#include <cstdint>

#include "kernels/tensor.h"

namespace skipserve {

inline int64_t CountOf(TensorView x, IndexView rows) { return rows.empty() ? x.rows : rows.size; }

// In host memory: the row of x that is the i-th of them.
inline int64_t RowAt(IndexView rows, int64_t i) { return rows.empty() ? i : rows.data[i]; }

}  // namespace skipserve
