// What the skipping module needs, cut into tasks.
#include <algorithm>
#include <cassert>
#include <cmath>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/probe.h"
#include "kernels/cpu/row_kernels.h"
#include "kernels/cpu/select_top.h"

namespace skipserve::cpu {

void CpuOps::ProbeScores(TensorView q, TensorView k, const ProbeParams& params, float* scores) {
  assert(q.rows <= k.rows && params.pool % 2 == 1);
  if (k.rows == 0) return;
  const int64_t columns = params.heads * q.rows;
  const int64_t blocks = (k.rows + kProbeBlock - 1) / kProbeBlock;
  float* max = shared_.Floats(2 * columns * blocks + k.rows);  // [blocks, columns]
  float* sum = max + columns * blocks;                         // [blocks, columns]
  float* unpooled = sum + columns * blocks;
  const size_t bytes = ProbeScratchBytes(params);
  pool_.ParallelFor(blocks, [&](int64_t b, int thread) {
    ProbeSums(q, k, params, b, scratch_[thread].Bytes(bytes), max + b * columns, sum + b * columns);
  });
  for (int64_t c = 0; c < columns; ++c) {
    float m = max[c];
    for (int64_t b = 1; b < blocks; ++b) m = std::max(m, max[b * columns + c]);
    float s = 0.0f;
    for (int64_t b = 0; b < blocks; ++b) {
      s += sum[b * columns + c] * std::exp2(max[b * columns + c] - m);
    }
    max[c] = m;
    sum[c] = 1.0f / s;
  }
  pool_.ParallelFor(blocks, [&](int64_t b, int thread) {
    ProbeReduce(q, k, params, b, max, sum, scratch_[thread].Bytes(bytes),
                unpooled + b * kProbeBlock);
  });
  MaxPool(unpooled, k.rows, params.pool / 2, scores);
}

void CpuOps::RowDotSqrt(TensorView a, TensorView b, float* out) {
  assert(a.rows == b.rows && a.cols == b.cols);
  ForRows(a.rows, a.cols, [&](int64_t i) {
    const float sum = DotRow(a.data + i * a.stride, b.data + i * b.stride, a.cols);
    out[i] = std::sqrt(std::max(0.0f, sum));
  });
}

void CpuOps::Multiply(const float* a, const float* b, int64_t n, float* out) {
  MultiplyRow(a, b, n, out);
}

void CpuOps::SelectTop(const float* scores, int64_t n, int64_t count, int64_t always_head,
                       int64_t always_tail, int32_t* rows_out) {
  cpu::SelectTop(scores, n, count, always_head, always_tail, keys_, rows_out);
}

}  // namespace skipserve::cpu
