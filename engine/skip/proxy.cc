#include "engine/skip/proxy.h"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

using MatrixF = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using MatrixD = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

std::vector<int32_t> MostImportant(absl::Span<const float> importance, int32_t count) {
  std::vector<int32_t> order(importance.size());
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + count, order.end(), [&](int32_t a, int32_t b) {
    return importance[a] > importance[b] || (importance[a] == importance[b] && a < b);
  });
  order.resize(count);
  return order;
}

MatrixF ReadRows(const WeightSource& source, const std::vector<int32_t>& rows) {
  MatrixF out(rows.size(), source.in_features);
  for (size_t i = 0; i < rows.size(); ++i) source.read(rows[i], 1, out.row(i).data());
  return out;
}

MatrixF ReadColumns(const WeightSource& source, const std::vector<int32_t>& columns) {
  constexpr int64_t kRows = 64;  // bounds the memory for whole rows
  MatrixF out(source.out_features, columns.size());
  MatrixF piece(kRows, source.in_features);
  for (int64_t begin = 0; begin < source.out_features; begin += kRows) {
    const int64_t count = std::min(kRows, source.out_features - begin);
    source.read(begin, count, piece.data());
    for (int64_t i = 0; i < count; ++i) {
      for (size_t j = 0; j < columns.size(); ++j) out(begin + i, j) = piece(i, columns[j]);
    }
  }
  return out;
}

std::vector<float> ToVector(const MatrixD& m) {
  std::vector<float> out(m.size());
  Eigen::Map<MatrixF>(out.data(), m.rows(), m.cols()) = m.cast<float>();
  return out;
}

// The `rank` leading eigenvectors of a symmetric matrix, as columns. Eigen sorts ascending.
absl::StatusOr<MatrixD> LeadingEigenvectors(const MatrixD& symmetric, int32_t rank) {
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(symmetric);
  if (solver.info() != Eigen::Success) {
    return absl::InternalError("the eigen-decomposition of an FFN matrix did not converge");
  }
  return MatrixD(solver.eigenvectors().rightCols(rank));
}

// The best rank-`rank` approximation of m [d_low, width] as b a, with b [d_low, rank] and
// a [rank, width]. Projecting on the leading singular vectors of the shorter side, found as
// eigenvectors of its Gram matrix in double, is the truncated SVD without the long side's vectors.
struct Factors {
  std::vector<float> a, b;
};
absl::StatusOr<Factors> Factor(const MatrixF& weights, int32_t rank) {
  const MatrixD m = weights.cast<double>();
  if (m.rows() <= m.cols()) {
    ASSIGN_OR_RETURN(const MatrixD u, LeadingEigenvectors(m * m.transpose(), rank));
    return Factors{ToVector(u.transpose() * m), ToVector(u)};
  }
  ASSIGN_OR_RETURN(const MatrixD v, LeadingEigenvectors(m.transpose() * m, rank));
  return Factors{ToVector(v.transpose()), ToVector(m * v)};
}

absl::Status CheckShapes(const FfnWeights& ffn, absl::Span<const float> importance,
                         ProxyShape shape) {
  const int64_t channels = ffn.gate.out_features, width = ffn.gate.in_features;
  if (ffn.up.out_features != channels || ffn.up.in_features != width ||
      ffn.down.out_features != width || ffn.down.in_features != channels ||
      static_cast<int64_t>(importance.size()) != channels) {
    return absl::InvalidArgumentError(absl::StrCat(
        "FFN shapes do not fit each other: gate [", channels, ", ", width, "], up [",
        ffn.up.out_features, ", ", ffn.up.in_features, "], down [", ffn.down.out_features, ", ",
        ffn.down.in_features, "], importance [", importance.size(), "]"));
  }
  if (shape.d_low < 1 || shape.d_low > channels || shape.rank < 1 ||
      shape.rank > std::min<int64_t>(shape.d_low, width)) {
    return absl::InvalidArgumentError(
        absl::StrCat("a proxy of ", shape.d_low, " channels and rank ", shape.rank,
                     " cannot be made of an FFN [", channels, ", ", width,
                     "]: it needs 1 <= rank <= min(channels kept, width)"));
  }
  if (!std::all_of(importance.begin(), importance.end(),
                   [](float x) { return std::isfinite(x); })) {
    return absl::InvalidArgumentError("a channel's importance is not finite");
  }
  return absl::OkStatus();
}

}  // namespace

ChannelImportance::ChannelImportance(int32_t channels, int64_t max_rows, double rho)
    : max_rows_(max_rows),
      rho_(rho),
      top_(std::max<int64_t>(1, static_cast<int64_t>(rho * static_cast<double>(max_rows)))),
      capacity_(top_ + std::max<int64_t>(16, top_ / 4)),
      channels_(channels),
      values_(channels * capacity_) {}

void ChannelImportance::Insert(int32_t channel, float saliency) {
  Channel& c = channels_[channel];
  if (!(saliency > c.floor)) return;
  float* values = &values_[channel * capacity_];
  values[c.count++] = saliency;
  if (c.count < capacity_) return;
  std::nth_element(values, values + top_ - 1, values + c.count, std::greater<>());
  c.floor = values[top_ - 1];
  c.count = top_;
}

void ChannelImportance::Add(absl::Span<const float> activations) {
  const int64_t channels = static_cast<int64_t>(channels_.size());
  const int64_t rows = std::min<int64_t>(activations.size() / channels, max_rows_ - rows_);
  // By blocks of channels, so that a block's lists stay in the cache while the rows pass.
  constexpr int64_t kBlock = 16;
  for (int64_t begin = 0; begin < channels; begin += kBlock) {
    const int64_t end = std::min(channels, begin + kBlock);
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t c = begin; c < end; ++c) {
        const float saliency = std::abs(activations[row * channels + c]);
        Insert(static_cast<int32_t>(c), std::isnan(saliency) ? 0.0f : saliency);
      }
    }
  }
  rows_ += rows;
}

std::vector<float> ChannelImportance::Importance() const {
  std::vector<float> out(channels_.size(), 0.0f);
  if (rows_ == 0) return out;
  const int64_t top = std::max<int64_t>(1, static_cast<int64_t>(rho_ * static_cast<double>(rows_)));
  std::vector<float> values;
  for (size_t c = 0; c < channels_.size(); ++c) {
    const float* begin = &values_[c * capacity_];
    values.assign(begin, begin + channels_[c].count);
    std::nth_element(values.begin(), values.begin() + top - 1, values.end(), std::greater<>());
    const double sum = std::accumulate(values.begin(), values.begin() + top, 0.0);
    out[c] = static_cast<float>(sum / static_cast<double>(top));
  }
  return out;
}

absl::StatusOr<LayerProxy> BuildProxy(const FfnWeights& ffn, absl::Span<const float> importance,
                                      ProxyShape shape) {
  RETURN_IF_ERROR(CheckShapes(ffn, importance, shape));
  const std::vector<int32_t> keep = MostImportant(importance, shape.d_low);
  const MatrixF gate = ReadRows(ffn.gate, keep), up = ReadRows(ffn.up, keep);
  const MatrixF down = ReadColumns(ffn.down, keep);
  if (!gate.allFinite() || !up.allFinite() || !down.allFinite()) {
    return absl::InvalidArgumentError("an FFN weight is not finite");
  }
  LayerProxy proxy;
  proxy.width = static_cast<int32_t>(ffn.gate.in_features);
  proxy.d_low = shape.d_low;
  proxy.rank = shape.rank;
  ASSIGN_OR_RETURN(Factors gate_factors, Factor(gate, shape.rank));
  ASSIGN_OR_RETURN(Factors up_factors, Factor(up, shape.rank));
  proxy.gate_a = std::move(gate_factors.a);
  proxy.gate_b = std::move(gate_factors.b);
  proxy.up_a = std::move(up_factors.a);
  proxy.up_b = std::move(up_factors.b);
  const MatrixD d = down.cast<double>();
  proxy.gram = ToVector(d.transpose() * d);
  return proxy;
}

}  // namespace skipserve
