// What the skipping module needs: the attention probe, norms of the proxy, and the choice of rows.
#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/reference/reference_ops.h"

namespace skipserve {
namespace {

void Accumulate(Reduce reduce, const std::vector<float>& from, std::vector<float>& into) {
  for (size_t i = 0; i < into.size(); ++i) {
    into[i] = reduce == Reduce::kMax ? std::max(into[i], from[i]) : into[i] + from[i];
  }
}

// Called once all `count` terms are in.
void Finish(Reduce reduce, int64_t count, std::vector<float>& x) {
  if (reduce != Reduce::kMean) return;
  for (float& v : x) v /= static_cast<float>(count);
}

// Softmax of one query head over the first `visible` candidates; the others get 0.
void ProbeOne(const float* q, TensorView k, int64_t col, int64_t d, int64_t visible,
              std::vector<float>& p) {
  const float scale = 1.0f / std::sqrt(static_cast<float>(d));
  std::fill(p.begin(), p.end(), 0.0f);
  float max = -std::numeric_limits<float>::infinity();
  for (int64_t n = 0; n < visible; ++n) {
    const float* key = k.data + n * k.stride + col;
    float dot = 0.0f;
    for (int64_t j = 0; j < d; ++j) dot += q[j] * key[j];
    p[n] = dot * scale;
    max = std::max(max, p[n]);
  }
  float sum = 0.0f;
  for (int64_t n = 0; n < visible; ++n) {
    p[n] = std::exp(p[n] - max);
    sum += p[n];
  }
  for (int64_t n = 0; n < visible; ++n) p[n] /= sum;
}

}  // namespace

void ReferenceOps::ProbeScores(TensorView q, TensorView k, const ProbeParams& params,
                               float* scores) {
  const int64_t window = q.rows;
  const int64_t candidates = k.rows;
  const int64_t d = params.head_dim;
  const int64_t group = params.heads / params.kv_heads;
  assert(window <= candidates && params.pool % 2 == 1);
  // Every term is a probability, so 0 is the neutral start of a maximum too.
  std::vector<float> total(candidates, 0.0f), head(candidates), p(candidates);
  for (int64_t h = 0; h < params.heads; ++h) {
    std::fill(head.begin(), head.end(), 0.0f);
    for (int64_t w = 0; w < window; ++w) {
      ProbeOne(q.data + w * q.stride + h * d, k, h / group * d, d, candidates - window + w + 1, p);
      Accumulate(params.window_reduce, p, head);
    }
    Finish(params.window_reduce, window, head);
    Accumulate(params.head_reduce, head, total);
  }
  Finish(params.head_reduce, params.heads, total);
  const int64_t reach = params.pool / 2;
  for (int64_t n = 0; n < candidates; ++n) {
    const int64_t begin = std::max<int64_t>(0, n - reach);
    const int64_t end = std::min(candidates, n + reach + 1);
    scores[n] = *std::max_element(total.begin() + begin, total.begin() + end);
  }
}

void ReferenceOps::RowDotSqrt(TensorView a, TensorView b, float* out) {
  assert(a.rows == b.rows && a.cols == b.cols);
  for (int64_t i = 0; i < a.rows; ++i) {
    float sum = 0.0f;
    for (int64_t j = 0; j < a.cols; ++j) sum += a.data[i * a.stride + j] * b.data[i * b.stride + j];
    out[i] = std::sqrt(std::max(0.0f, sum));
  }
}

void ReferenceOps::Multiply(const float* a, const float* b, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = a[i] * b[i];
}

void ReferenceOps::MaxScaled(const float* a, const float* b, float scale, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = std::max(a[i], b[i] * scale);
}

void ReferenceOps::SelectTop(const float* scores, int64_t n, int64_t count, int64_t always_head,
                             int64_t always_tail, int32_t* rows_out) {
  assert(1 <= count && count <= n);
  const auto rank = [&](int32_t row) {  // lower is chosen sooner
    if (row == n - 1) return 0;
    return row < always_head || row >= n - always_tail ? 1 : 2;
  };
  const auto before = [&](int32_t a, int32_t b) {
    if (rank(a) != rank(b)) return rank(a) < rank(b);
    if (rank(a) == 2) {
      const bool nan_a = std::isnan(scores[a]);
      const bool nan_b = std::isnan(scores[b]);
      if (nan_a != nan_b) return nan_b;
      if (!nan_a && scores[a] != scores[b]) return scores[a] > scores[b];
    }
    return a < b;
  };
  std::vector<int32_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), before);
  std::sort(order.begin(), order.begin() + count);
  std::copy_n(order.begin(), count, rows_out);
}

}  // namespace skipserve
