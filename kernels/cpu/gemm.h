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

// Rows of a weight [out.cols, a.cols].
struct WeightPanel {
  const float* values = nullptr;
  int64_t stride = 0;
  bool inputs_first = false;  // [a.cols, stride] instead of [count, stride]
};

// Rows [begin, begin + count), begin a multiple of kPanelStep: where they lie, or in `room`, which
// holds a.cols rows of `count` up to whole steps.
constexpr int64_t kPanelStep = 64;
using WeightRows = absl::FunctionRef<WeightPanel(int64_t begin, int64_t count, float* room)>;

// scratch: one per thread of the pool.
void Gemm(TensorView a, WeightRows w, TensorView out, ThreadPool& pool,
          std::vector<Scratch>& scratch);

}  // namespace skipserve::cpu
