// MatMul for machines that multiply bf16 natively, where float32 GEMM reaches half the rate or
// less, and int8 for those with AMX: oneDNN's matmul over tiled weights, and what follows the
// product done on a tile of rows while it is in the cache. Immutable; run by one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/cpu/scratch.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/cpu/tiled_weights.h"
#include "kernels/tensor.h"

namespace skipserve::cpu {

class PackedGemm {
 public:
  virtual ~PackedGemm() = default;

  // `gated`: W is a gate's rows and as many more of what it lets through; each must fill whole
  // blocks of the tiled weights. Null where oneDNN has no such product here. `w` outlives it.
  static std::unique_ptr<PackedGemm> Make(const TiledWeights& w, bool gated);

  // out = a W^T, `a` rounded to the weights' type.
  virtual void Run(TensorView a, TensorView out, ThreadPool& pool,
                   std::vector<Scratch>& scratch) const = 0;

  virtual bool gated() const = 0;
  // Where it is gated: out = silu(gate) * up of the same product.
  virtual void RunGated(TensorView a, TensorView out, ThreadPool& pool,
                        std::vector<Scratch>& scratch) const = 0;
};

}  // namespace skipserve::cpu
