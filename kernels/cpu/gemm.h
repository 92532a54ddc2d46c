// out = a W^T for many rows: oneDNN's float32 GEMM on tiles, run by our own threads.
// A call belongs to one Ops, so to one calling thread at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/tensor.h"

namespace skipserve::cpu {

// Makes oneDNN run on the calling thread alone: it must never start a team of its own beside our
// threads.
void KeepDnnlOnThisThread();

// Rows [begin, begin + count) of a weight [out.cols, a.cols]: where they lie, or `room`, filled.
using WeightRows = absl::FunctionRef<const float*(int64_t begin, int64_t count, float* room)>;

// scratch: one per thread of the pool.
void Gemm(TensorView a, WeightRows w, TensorView out, ThreadPool& pool,
          std::vector<Scratch>& scratch);

}  // namespace skipserve::cpu
