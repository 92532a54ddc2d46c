// oneDNN's matmul with the weights reordered once into its own layout: the path for machines that
// multiply bf16 natively, where float32 GEMM reaches half the rate. Holds a second copy of the
// weights. Immutable; Run may be called by one thread at a time. Float32 works too and is there so
// that the tests reach this file on every machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/cpu/scratch.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/host_memory.h"
#include "kernels/tensor.h"

namespace skipserve::cpu {

class PackedGemm {
 public:
  virtual ~PackedGemm() = default;

  // w [n, k] row-major of `dtype`. Null where oneDNN has no such product here.
  static std::unique_ptr<PackedGemm> Make(const void* w, int64_t n, int64_t k, DType dtype,
                                          HostSlabs& slabs);

  virtual size_t bytes() const = 0;

  // out = a W^T, `a` rounded to the weights' type.
  virtual void Run(TensorView a, TensorView out, ThreadPool& pool,
                   std::vector<Scratch>& scratch) const = 0;
};

}  // namespace skipserve::cpu
