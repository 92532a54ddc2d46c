// Hidden states in KV blocks, element by element.
#include <algorithm>

#include "kernels/bf16.h"
#include "kernels/kv_slot.h"
#include "kernels/reference/reference_ops.h"

namespace skipserve {
namespace {

// Calls visit(x's element, the slot it is kept in) for every element.
template <class Visit>
void ForElements(TensorView x, IndexView blocks, DType dtype, const KvPool& pool,
                 const Visit& visit) {
  const int64_t columns = StateColumns(pool.layout, dtype);
  const int64_t parts = StateBlocks(pool.layout, x.cols, dtype);
  for (int64_t row = 0; row < x.rows; ++row) {
    for (int64_t c = 0; c < x.cols; ++c) {
      std::byte* slot = StateSlot(pool, blocks, parts, dtype, row, c / columns);
      visit(x.data[row * x.stride + c],
            slot + c % columns * static_cast<int64_t>(DTypeBytes(dtype)));
    }
  }
}

}  // namespace

void ReferenceOps::StatesWrite(TensorView x, IndexView blocks, DType dtype, const KvPool& pool) {
  ForElements(x, blocks, dtype, pool, [&](float& value, std::byte* slot) {
    if (dtype == DType::kF32) {
      *reinterpret_cast<float*>(slot) = value;
    } else {
      *reinterpret_cast<uint16_t*>(slot) = F32ToBf16(value);
    }
  });
}

void ReferenceOps::StatesRead(IndexView blocks, DType dtype, const KvPool& pool, TensorView x) {
  ForElements(x, blocks, dtype, pool, [&](float& value, std::byte* slot) {
    value = dtype == DType::kF32 ? *reinterpret_cast<const float*>(slot)
                                 : Bf16ToF32(*reinterpret_cast<const uint16_t*>(slot));
  });
}

void ReferenceOps::RoundRows(TensorView x, DType dtype) {
  if (dtype == DType::kF32) return;
  for (int64_t row = 0; row < x.rows; ++row) {
    for (int64_t c = 0; c < x.cols; ++c) {
      float& value = x.data[row * x.stride + c];
      value = Bf16ToF32(F32ToBf16(value));
    }
  }
}

}  // namespace skipserve
