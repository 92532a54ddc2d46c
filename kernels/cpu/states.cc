// Hidden states in KV blocks, a part of a row at a time.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/row_kernels.h"
#include "kernels/kv_slot.h"

namespace skipserve::cpu {

void CpuOps::StatesWrite(TensorView x, IndexView blocks, DType dtype, const KvPool& pool) {
  const int64_t columns = StateColumns(pool.layout, dtype);
  const int64_t parts = StateBlocks(pool.layout, x.cols, dtype);
  ForRows(x.rows, x.cols, [&](int64_t row) {
    for (int64_t part = 0; part < parts; ++part) {
      const float* from = x.data + row * x.stride + part * columns;
      const int64_t count = std::min(columns, x.cols - part * columns);
      std::byte* slot = StateSlot(pool, blocks, parts, dtype, row, part);
      if (dtype == DType::kF32) {
        std::memcpy(slot, from, count * sizeof(float));
      } else {
        RoundToBf16(from, count, reinterpret_cast<uint16_t*>(slot));
      }
    }
  });
}

void CpuOps::StatesRead(IndexView blocks, DType dtype, const KvPool& pool, TensorView x) {
  const int64_t columns = StateColumns(pool.layout, dtype);
  const int64_t parts = StateBlocks(pool.layout, x.cols, dtype);
  ForRows(x.rows, x.cols, [&](int64_t row) {
    for (int64_t part = 0; part < parts; ++part) {
      float* to = x.data + row * x.stride + part * columns;
      const int64_t count = std::min(columns, x.cols - part * columns);
      const std::byte* slot = StateSlot(pool, blocks, parts, dtype, row, part);
      if (dtype == DType::kF32) {
        std::memcpy(to, slot, count * sizeof(float));
      } else {
        ExpandBf16(reinterpret_cast<const uint16_t*>(slot), count, to);
      }
    }
  });
}

void CpuOps::RoundRows(TensorView x, DType dtype) {
  if (dtype == DType::kF32) return;
  ForRows(x.rows, x.cols, [&](int64_t row) {
    constexpr int64_t kPiece = 512;
    uint16_t rounded[kPiece];
    for (int64_t begin = 0; begin < x.cols; begin += kPiece) {
      float* piece = x.data + row * x.stride + begin;
      const int64_t count = std::min(kPiece, x.cols - begin);
      RoundToBf16(piece, count, rounded);
      ExpandBf16(rounded, count, piece);
    }
  });
}

}  // namespace skipserve::cpu
