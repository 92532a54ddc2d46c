// MatMul for machines that multiply bf16 natively, where float32 GEMM reaches half the rate or less:
// oneDNN's matmul over panels of the paired weights that stay in L2 for several tiles of rows, and
// what follows the product done on a tile while it is there. Immutable; run by one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/cpu/paired_weights.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/tensor.h"

namespace skipserve::cpu {

class PackedGemm {
 public:
  virtual ~PackedGemm() = default;

  // `gated`: W is a gate's rows and as many more of what it lets through; each must fill whole blocks
  // of the pairs. Null where oneDNN has no such product here. `w` outlives it.
  static std::unique_ptr<PackedGemm> Make(const PairedWeights& w, bool gated);

  // out = a W^T, `a` rounded to bf16.
  virtual void Run(TensorView a, TensorView out, ThreadPool& pool,
                   std::vector<Scratch>& scratch) const = 0;

  virtual bool gated() const = 0;
  // Where it is gated: out = silu(gate) * up of the same product.
  virtual void RunGated(TensorView a, TensorView out, ThreadPool& pool,
                        std::vector<Scratch>& scratch) const = 0;
};

}  // namespace skipserve::cpu
