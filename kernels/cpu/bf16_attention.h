// PrefillAttention for machines that multiply bf16 natively: on AMX tiles, or, where there are
// none, with oneDNN's matmul. K and V of a key block are packed once for all of a task's queries.
// Queries and weights are rounded to bf16 (a weight on AMX errs by 0.72 % at most, see there), sums
// are float32. Immutable; Run is thread-safe in the
// scratch it is given.
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

  // Null where the machine has no such product.
  static std::unique_ptr<Bf16Attention> Make(int64_t head_dim);

  // Rows of (query, head) pairs of a group in the smallest tile, in a full one, and in a task at
  // most. Tiles come in multiples of the smallest, so a task of such a multiple wastes nothing.
  struct TileShape {
    int64_t step = 0;
    int64_t full = 0;
    int64_t task = 0;
  };
  virtual TileShape tiles() const = 0;
  virtual int64_t head_dim() const = 0;
  virtual size_t ScratchBytes(int64_t num_rows, int64_t group) const = 0;

  // As PrefillAttention over a pool of bf16, or of 8 bits, rounded to bf16 once they are widened.
  virtual void Run(const PrefillTask& task, TensorView q, int64_t group, const KvPool& pool,
                   void* scratch, TensorView out) const = 0;
};

}  // namespace skipserve::cpu
