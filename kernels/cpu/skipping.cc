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
  const int64_t group = params.heads / params.kv_heads;
  const int64_t blocks = (k.rows + kProbeBlock - 1) / kProbeBlock;
  // As many heads of a group at once as their weights have room for.
  constexpr int64_t kWeightFloats = 8 * 1024 * 1024;
  int64_t at_once = group;
  while (at_once > 1 && blocks * ProbeWeightFloats(at_once, q.rows) > kWeightFloats) --at_once;
  const int64_t block_floats = ProbeWeightFloats(at_once, q.rows);
  const int64_t max_columns = at_once * q.rows;

  float* weights = shared_.Floats(blocks * (block_floats + kProbeBlock + 2 * max_columns));
  float* total = weights + blocks * block_floats;  // [blocks, kProbeBlock]
  float* max = total + blocks * kProbeBlock;       // [blocks, columns]
  float* sum = max + blocks * max_columns;         // [blocks, columns], then scales
  std::fill_n(total, blocks * kProbeBlock, 0.0f);  // neutral for a maximum of probabilities too
  for (int64_t head = 0; head < params.heads;) {
    const ProbeHeads heads = {head, std::min(at_once, group - head % group)};
    const int64_t columns = heads.num_heads * q.rows;
    pool_.ParallelFor(blocks, [&](int64_t b, int thread) {
      float* keys = scratch_[thread].Floats(kProbeBlock * params.head_dim);
      ProbeWeigh(q, k, params, heads, b, keys, weights + b * block_floats, max + b * columns,
                 sum + b * columns);
    });
    for (int64_t c = 0; c < columns; ++c) {
      float m = max[c];
      for (int64_t b = 1; b < blocks; ++b) m = std::max(m, max[b * columns + c]);
      float s = 0.0f;
      for (int64_t b = 0; b < blocks; ++b) {
        s += sum[b * columns + c] * std::exp2(max[b * columns + c] - m);
      }
      for (int64_t b = 0; b < blocks; ++b) {
        sum[b * columns + c] = std::exp2(max[b * columns + c] - m) / s;
      }
    }
    pool_.ParallelFor(blocks, [&](int64_t b, int) {
      ProbeReduce(params, q.rows, heads, weights + b * block_floats, sum + b * columns,
                  total + b * kProbeBlock);
    });
    head += heads.num_heads;
  }
  MaxPool(total, k.rows, params.pool / 2, scores);
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

void CpuOps::MaxScaled(const float* a, const float* b, float scale, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = std::max(a[i], b[i] * scale);
}

void CpuOps::SelectTop(const float* scores, int64_t n, int64_t count, int64_t always_head,
                       int64_t always_tail, int32_t* rows_out) {
  cpu::SelectTop(scores, n, count, always_head, always_tail, keys_, rows_out);
}

}  // namespace skipserve::cpu
