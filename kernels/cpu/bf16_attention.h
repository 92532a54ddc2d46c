// PrefillAttention for machines that multiply bf16 natively: both products of a tile are oneDNN's
// matmul, with K and V of a key block reordered once for all of a task's queries. Queries and
// weights are rounded to bf16, sums are float32. Immutable; Run is thread-safe in the scratch it is
// given.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/cpu/prefill_attention.h"
#include "kernels/ops.h"

namespace skipserve::cpu {

class Bf16Attention {
 public:
  virtual ~Bf16Attention() = default;

  // Null where oneDNN has no such product here.
  static std::unique_ptr<Bf16Attention> Make(int64_t head_dim);

  // Rows of (query, head) pairs of a group in a full tile, and in the smallest; tiles come in
  // multiples of the smallest, so a task of such a multiple wastes nothing.
  static constexpr int64_t kTileRows = 192;
  static constexpr int64_t kTileStep = 48;

  virtual int64_t head_dim() const = 0;
  virtual size_t ScratchBytes(int64_t num_rows, int64_t group) const = 0;

  // As PrefillAttention over a bf16 pool.
  virtual void Run(const PrefillTask& task, TensorView q, int64_t group, const KvPool& pool,
                   void* scratch, TensorView out) const = 0;
};

}  // namespace skipserve::cpu
