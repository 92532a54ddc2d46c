#include "kernels/cpu/gemm.h"

#include <algorithm>
#include <cstddef>
#include <stdexcept>

#include "oneapi/dnnl/dnnl.h"

// Debian's oneDNN runs on libgomp, whose header clang does not find.
extern "C" void omp_set_num_threads(int);

namespace skipserve::cpu {
namespace {

constexpr int64_t kTileFloats =
    96 * 1024;  // of W: with its packed copy inside oneDNN it fills about one L2
// oneDNN sums a row in another order where the row falls into the ragged end of its register tiles,
// or into a product of few rows. In products of multiples of 48 rows it never does, on SSE4, AVX2
// and AVX-512 alike; matmul_test proves it for the machine it runs on.
constexpr int64_t kRowStep = 48;
constexpr int64_t kMinRows = 3 * kRowStep;  // fewer rows do not pay for packing W

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Columns of W per tile: what fits the cache, but enough tiles for all threads.
int64_t TileColumns(int64_t n, int64_t k, int threads) {
  int64_t columns = std::max<int64_t>(kPanelStep, kTileFloats / std::max<int64_t>(k, 1));
  columns = std::min(columns, CeilDiv(n, threads));
  return CeilDiv(columns, kPanelStep) * kPanelStep;
}

// out [m, columns] = a w^T, m a multiple of kRowStep.
void Sgemm(int64_t m, int64_t columns, int64_t k, const float* a, int64_t a_stride,
           const WeightPanel& w, float* out, int64_t out_stride) {
  const dnnl_status_t status = dnnl_sgemm('N', w.inputs_first ? 'N' : 'T', m, columns, k, 1.0f, a,
                                          a_stride, w.values, w.stride, 0.0f, out, out_stride);
  if (status != dnnl_success) throw std::runtime_error("oneDNN's sgemm failed");
}

}  // namespace

void KeepDnnlOnThisThread() { omp_set_num_threads(1); }

// dnnl_sgemm and the matmul primitive run the same code on AVX2: at m = 512 on one Zen 3 core 83
// and 74 GFLOP/s for (n, k) = (576, 576), 90 and 79 for (192, 576), 81 and 87 for (3072, 576), 88
// and 87 for (576, 1536). The plain call needs no primitive cache.
void Gemm(TensorView a, WeightRows w, TensorView out, ThreadPool& pool,
          std::vector<Scratch>& scratch) {
  const int64_t m = a.rows, n = out.cols, k = a.cols;
  const int64_t tile = TileColumns(n, k, pool.threads());
  const int64_t column_tiles = CeilDiv(n, tile);
  // Rows are cut too where the columns alone leave threads without work.
  const int64_t wanted = CeilDiv(2 * pool.threads(), column_tiles);
  const int64_t row_tiles = std::clamp<int64_t>(m / kMinRows, 1, wanted);
  const int64_t rows = CeilDiv(CeilDiv(m, row_tiles), kRowStep) * kRowStep;
  pool.ParallelFor(column_tiles * row_tiles, [&](int64_t task, int thread) {
    KeepDnnlOnThisThread();
    const int64_t column = task / row_tiles * tile;
    const int64_t columns = std::min(tile, n - column);
    const int64_t row = task % row_tiles * rows;
    const int64_t count = std::min(rows, m - row);
    if (count <= 0) return;
    const int64_t whole_columns = CeilDiv(columns, kPanelStep) * kPanelStep;
    float* padded = scratch[thread].Floats(kRowStep * (k + columns) + whole_columns * k);
    float* padded_out = padded + kRowStep * k;
    const WeightPanel w32 = w(column, columns, padded_out + kRowStep * columns);
    const float* from = a.data + row * a.stride;
    float* to = out.data + row * out.stride + column;
    const int64_t whole = count / kRowStep * kRowStep;
    if (whole > 0) Sgemm(whole, columns, k, from, a.stride, w32, to, out.stride);
    if (whole == count) return;
    std::fill_n(padded, kRowStep * k, 0.0f);
    for (int64_t i = whole; i < count; ++i) {
      std::copy_n(from + i * a.stride, k, padded + (i - whole) * k);
    }
    Sgemm(kRowStep, columns, k, padded, k, w32, padded_out, columns);
    for (int64_t i = whole; i < count; ++i) {
      std::copy_n(padded_out + (i - whole) * columns, columns, to + i * out.stride);
    }
  });
}

}  // namespace skipserve::cpu
