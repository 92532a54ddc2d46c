#include "kernels/cpu/gemm.h"

#include <algorithm>
#include <cassert>
#include <cstddef>

#include "kernels/cpu/row_kernels.h"
#include "oneapi/dnnl/dnnl.h"

// Debian's oneDNN runs on libgomp, whose header clang does not find.
extern "C" void omp_set_num_threads(int);

namespace skipserve::cpu {
namespace {

constexpr int64_t kTileFloats =
    96 * 1024;                     // of W: with its packed copy inside oneDNN it fills about one L2
constexpr int64_t kMinRows = 128;  // fewer rows do not pay for packing W
constexpr int64_t kColumnStep = 16;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Columns of W per tile: what fits the cache, but enough tiles for all threads.
int64_t TileColumns(int64_t n, int64_t k, int threads) {
  int64_t columns = std::max<int64_t>(kColumnStep, kTileFloats / std::max<int64_t>(k, 1));
  columns = std::min(columns, CeilDiv(n, threads));
  return CeilDiv(columns, kColumnStep) * kColumnStep;
}

}  // namespace

void KeepDnnlOnThisThread() { omp_set_num_threads(1); }

// dnnl_sgemm and the matmul primitive run the same code on AVX2: at m = 512 on one Zen 3 core 83
// and 74 GFLOP/s for (n, k) = (576, 576), 90 and 79 for (192, 576), 81 and 87 for (3072, 576), 88
// and 87 for (576, 1536). The plain call needs no primitive cache.
void Gemm(TensorView a, const void* w, DType dtype, TensorView out, ThreadPool& pool,
          std::vector<Scratch>& scratch) {
  const int64_t m = a.rows, n = out.cols, k = a.cols;
  const int64_t tile = TileColumns(n, k, pool.threads());
  const int64_t column_tiles = CeilDiv(n, tile);
  // Rows are cut too where the columns alone leave threads without work.
  const int64_t wanted = CeilDiv(2 * pool.threads(), column_tiles);
  const int64_t row_tiles = std::clamp<int64_t>(m / kMinRows, 1, wanted);
  const int64_t rows = CeilDiv(m, row_tiles);
  pool.ParallelFor(column_tiles * row_tiles, [&](int64_t task, int thread) {
    KeepDnnlOnThisThread();
    const int64_t column = task / row_tiles * tile;
    const int64_t columns = std::min(tile, n - column);
    const int64_t row = task % row_tiles * rows;
    const int64_t count = std::min(rows, m - row);
    if (count <= 0) return;
    const float* w32 = static_cast<const float*>(w) + column * k;
    if (dtype == DType::kBF16) {
      float* expanded = scratch[thread].Floats(columns * k);
      ExpandBf16(static_cast<const uint16_t*>(w) + column * k, columns * k, expanded);
      w32 = expanded;
    }
    [[maybe_unused]] const dnnl_status_t status =
        dnnl_sgemm('N', 'T', count, columns, k, 1.0f, a.data + row * a.stride, a.stride, w32, k,
                   0.0f, out.data + row * out.stride + column, out.stride);
    assert(status == dnnl_success);
  });
}

}  // namespace skipserve::cpu
