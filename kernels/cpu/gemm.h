// out = a W^T for many rows: oneDNN's float32 GEMM on tiles, run by our own threads.
// A call belongs to one Ops, so to one calling thread at a time.
#pragma once

#include <vector>

#include "kernels/cpu/scratch.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/tensor.h"

namespace skipserve::cpu {

// Makes oneDNN run on the calling thread alone: it must never start a team of its own beside our
// threads.
void KeepDnnlOnThisThread();

// w [out.cols, a.cols] row-major, float or bf16 bits by `dtype`. scratch: one per thread of the
// pool.
void Gemm(TensorView a, const void* w, DType dtype, TensorView out, ThreadPool& pool,
          std::vector<Scratch>& scratch);

}  // namespace skipserve::cpu
