// The decoder's row-wise operations and its matrix product, as written in ops.h.
#include <algorithm>
#include <cassert>
#include <cmath>
#include <vector>

#include "kernels/chosen_rows.h"
#include "kernels/reference/reference_ops.h"

namespace skipserve {
namespace {

float* Row(TensorView x, int64_t row) {
  assert(row >= 0 && row < x.rows);
  return x.data + row * x.stride;
}

}  // namespace

void ReferenceOps::Embed(const Weight& table, IndexView ids, TensorView out) {
  const auto& w = static_cast<const ReferenceWeight&>(table);
  assert(out.rows == ids.size && out.cols == w.in_features());
  for (int64_t i = 0; i < ids.size; ++i) {
    assert(ids.data[i] >= 0 && ids.data[i] < w.out_features());
    std::copy_n(w.Row(ids.data[i]), out.cols, Row(out, i));
  }
}

void ReferenceOps::RmsNorm(TensorView x, IndexView rows, TensorView gain, float eps,
                           TensorView out) {
  assert(gain.cols == x.cols && out.cols == x.cols);
  for (int64_t i = 0; i < out.rows; ++i) {
    const float* in = Row(x, RowAt(rows, i));
    float* y = Row(out, i);
    float sum = 0.0f;
    for (int64_t j = 0; j < x.cols; ++j) sum += in[j] * in[j];
    const float scale = 1.0f / std::sqrt(sum / static_cast<float>(x.cols) + eps);
    for (int64_t j = 0; j < x.cols; ++j) y[j] = in[j] * scale * gain.data[j];
  }
}

namespace {

// Each run of 64 elements, or of the largest power of two below it that divides n, by a
// Walsh-Hadamard matrix. Its own inverse.
void Rotate(float* row, int64_t n) {
  const int64_t order = std::min<int64_t>(64, n & -n);
  for (int64_t half = order / 2; half >= 1; half /= 2) {
    for (int64_t i = 0; i < n; ++i) {
      if (i / half % 2 == 1) continue;
      const float a = row[i], b = row[i + half];
      row[i] = a + b;
      row[i + half] = a - b;
    }
  }
  for (int64_t i = 0; i < n; ++i) row[i] *= 1.0f / std::sqrt(static_cast<float>(order));
}

}  // namespace

void RoundToInt8(float* row, int64_t n) {
  Rotate(row, n);
  float max = 0.0f;
  for (int64_t j = 0; j < n; ++j) max = std::max(max, std::abs(row[j]));
  if (max < 1e-30f) {  // zeros, or nothing but NaN
    for (int64_t j = 0; j < n; ++j) row[j] *= 0.0f;
    return;
  }
  const float inverse = 127.0f / max, scale = max / 127.0f;
  for (int64_t j = 0; j < n; ++j) row[j] = std::nearbyint(row[j] * inverse) * scale;
  Rotate(row, n);
}

namespace {

// As a decode step rounds what kInt4 multiplies.
void RoundGroupsToInt8(float* row, int64_t n) {
  for (int64_t group = 0; group < n; group += FourBitRows::kGroup) {
    float max = 0.0f;
    for (int64_t j = group; j < group + FourBitRows::kGroup; ++j)
      max = std::max(max, std::abs(row[j]));
    const float inverse = max < 1e-30f ? 0.0f : 127.0f / max, scale = max / 127.0f;
    for (int64_t j = group; j < group + FourBitRows::kGroup; ++j) {
      row[j] = std::nearbyint(row[j] * inverse) * scale;
    }
  }
}

}  // namespace

void ReferenceOps::DecodeMatMul(TensorView a, const Weight& w, TensorView out) {
  if (static_cast<const ReferenceWeight&>(w).type() != WeightType::kInt4) return MatMul(a, w, out);
  std::vector<float> rounded;
  for (int64_t i = 0; i < a.rows; ++i) {
    rounded.insert(rounded.end(), Row(a, i), Row(a, i) + a.cols);
    RoundGroupsToInt8(rounded.data() + i * a.cols, a.cols);
  }
  MatMul(TensorView(rounded.data(), a.rows, a.cols), w, out);
}

void ReferenceOps::MatMul(TensorView a, const Weight& weight, TensorView out) {
  const auto& w = static_cast<const ReferenceWeight&>(weight);
  assert(a.cols == w.in_features() && out.cols == w.out_features() && out.rows == a.rows);
  for (int64_t i = 0; i < a.rows; ++i) {
    std::vector<float> x(Row(a, i), Row(a, i) + a.cols);
    if (w.type() == WeightType::kInt8) RoundToInt8(x.data(), a.cols);
    float* y = Row(out, i);
    for (int64_t n = 0; n < out.cols; ++n) {
      const float* row = w.Row(n);
      float sum = 0.0f;
      for (int64_t k = 0; k < a.cols; ++k) sum += x[k] * row[k];
      y[n] = sum;
    }
  }
}

void ReferenceOps::AddBias(TensorView x, TensorView bias) {
  assert(bias.cols == x.cols);
  for (int64_t i = 0; i < x.rows; ++i) {
    float* y = Row(x, i);
    for (int64_t j = 0; j < x.cols; ++j) y[j] += bias.data[j];
  }
}

void ReferenceOps::Rope(TensorView x, IndexView positions, const RopeTable& table,
                        int32_t head_dim) {
  assert(positions.size == x.rows && x.cols % head_dim == 0);
  const int64_t half = head_dim / 2;
  for (int64_t i = 0; i < x.rows; ++i) {
    const float* cos = Row(table.cos, positions.data[i]);
    const float* sin = Row(table.sin, positions.data[i]);
    for (float* head = Row(x, i); head != Row(x, i) + x.cols; head += head_dim) {
      for (int64_t j = 0; j < half; ++j) {
        const float a = head[j];
        const float b = head[j + half];
        head[j] = a * cos[j] - b * sin[j];
        head[j + half] = b * cos[j] + a * sin[j];
      }
    }
  }
}

void ReferenceOps::NormMatMul(TensorView x, IndexView rows, TensorView gain, float eps,
                              absl::Span<const Projection> projections) {
  const int64_t n = CountOf(x, rows);
  std::vector<float> h(n * x.cols);
  const TensorView normed(h.data(), n, x.cols);
  RmsNorm(x, rows, gain, eps, normed);
  for (const Projection& p : projections) MatMul(normed, *p.w, p.out);
}

void ReferenceOps::MatMulAdd(TensorView a, const Weight& w, TensorView x, IndexView rows) {
  std::vector<float> values(a.rows * w.out_features());
  const TensorView product(values.data(), a.rows, w.out_features());
  MatMul(a, w, product);
  AddRows(x, rows, product);
}

void ReferenceOps::FeedForward(TensorView x, IndexView rows, const FeedForwardWeights& w) {
  const int64_t n = CountOf(x, rows), f = w.down->in_features();
  std::vector<float> h(n * x.cols), gate_up(n * 2 * f), activated(n * f);
  const TensorView normed(h.data(), n, x.cols), both(gate_up.data(), n, 2 * f),
      hidden(activated.data(), n, f);
  RmsNorm(x, rows, w.gain, w.eps, normed);
  MatMul(normed, *w.gate_up, both);
  SwiGlu(both, hidden);
  MatMulAdd(hidden, *w.down, x, rows);
}

void ReferenceOps::SwiGlu(TensorView gate_up, TensorView out) {
  assert(gate_up.cols == 2 * out.cols && gate_up.rows == out.rows);
  for (int64_t i = 0; i < out.rows; ++i) {
    const float* gate = Row(gate_up, i);
    const float* up = gate + out.cols;
    float* y = Row(out, i);
    for (int64_t j = 0; j < out.cols; ++j) y[j] = gate[j] / (1.0f + std::exp(-gate[j])) * up[j];
  }
}

void ReferenceOps::AddRows(TensorView x, IndexView rows, TensorView delta) {
  assert(delta.cols == x.cols);
  for (int64_t i = 0; i < delta.rows; ++i) {
    const float* d = Row(delta, i);
    float* y = Row(x, RowAt(rows, i));
    for (int64_t j = 0; j < x.cols; ++j) y[j] += d[j];
  }
}

void ReferenceOps::GatherRows(TensorView x, IndexView rows, TensorView out) {
  assert(out.rows == rows.size && out.cols == x.cols);
  for (int64_t i = 0; i < rows.size; ++i) {
    std::copy_n(Row(x, rows.data[i]), x.cols, Row(out, i));
  }
}

void ReferenceOps::GatherIndex(IndexView values, IndexView rows, int32_t* out) {
  for (int64_t i = 0; i < rows.size; ++i) {
    assert(rows.data[i] >= 0 && rows.data[i] < values.size);
    out[i] = values.data[rows.data[i]];
  }
}

}  // namespace skipserve
