// The proxy's maths: importance against a sort of everything, factors against the reference's
// outputs on the tiny model and against exact properties of a truncated SVD.
#include "engine/skip/proxy.h"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <memory>
#include <random>
#include <string>

#include "engine/model_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace skipserve {
namespace {

using testing::Each;
using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Map = Eigen::Map<const Matrix>;

Matrix Random(int64_t rows, int64_t cols, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal;
  Matrix m(rows, cols);
  for (int64_t i = 0; i < m.size(); ++i) m.data()[i] = normal(rng);
  return m;
}

WeightSource Source(const Matrix& m) {
  return {m.rows(), m.cols(), [&m](int64_t begin, int64_t count, float* out) {
            std::copy_n(m.data() + begin * m.cols(), count * m.cols(), out);
          }};
}

struct Ffn {
  Matrix gate, up, down;
  FfnWeights weights() const { return {Source(gate), Source(up), Source(down)}; }
};

Ffn RandomFfn(int64_t width, int64_t channels) {
  return {Random(channels, width, 1), Random(channels, width, 2), Random(width, channels, 3)};
}

// The proxy as the engine evaluates it, one row at a time.
double Norm(const LayerProxy& p, const std::vector<float>& input) {
  const Eigen::VectorXd h = Eigen::Map<const Eigen::VectorXf>(input.data(), p.width).cast<double>();
  const auto product = [&](const std::vector<float>& a, const std::vector<float>& b) {
    const Eigen::VectorXd low = Map(a.data(), p.rank, p.width).cast<double>() * h;
    return Eigen::VectorXd(Map(b.data(), p.d_low, p.rank).cast<double>() * low);
  };
  Eigen::ArrayXd a = product(p.gate_a, p.gate_b).array();
  a = a / (1 + (-a).exp()) * product(p.up_a, p.up_b).array();
  const Eigen::VectorXd v = a.matrix();
  return std::sqrt(std::max(0.0, v.dot(Map(p.gram.data(), p.d_low, p.d_low).cast<double>() * v)));
}

double ExactNorm(const Ffn& ffn, const std::vector<float>& input) {
  const Eigen::Map<const Eigen::VectorXf> h(input.data(), input.size());
  Eigen::ArrayXf a = (ffn.gate * h).array();
  a = a / (1 + (-a).exp()) * (ffn.up * h).array();
  return (ffn.down * a.matrix()).norm();
}

std::vector<float> Row(int64_t width, uint32_t seed) {
  const Matrix m = Random(1, width, seed);
  return {m.data(), m.data() + m.size()};
}

// By definition: sort a channel's saliencies, take the mean of the largest.
std::vector<float> SortedImportance(const Matrix& activations, double rho) {
  const int64_t top = std::max<int64_t>(1, static_cast<int64_t>(rho * activations.rows()));
  std::vector<float> out;
  for (int64_t c = 0; c < activations.cols(); ++c) {
    std::vector<float> column;
    for (int64_t r = 0; r < activations.rows(); ++r) column.push_back(std::abs(activations(r, c)));
    std::sort(column.begin(), column.end(), std::greater<>());
    double sum = 0;
    for (int64_t i = 0; i < top; ++i) sum += column[i];
    out.push_back(static_cast<float>(sum / static_cast<double>(top)));
  }
  return out;
}

TEST(ChannelImportanceTest, EqualsASortHoweverTheRowsArrive) {
  const Matrix all = Random(1000, 37, 4);
  for (const int64_t rows : {1, 4, 9, 100, 999, 1000}) {
    const std::vector<float> expected = SortedImportance(all.topRows(rows), 0.2);
    for (const int64_t batch : {1, 7, 1000}) {
      for (const int64_t max_rows : {rows, rows + 1, int64_t{1000}}) {
        ChannelImportance importance(37, max_rows);
        for (int64_t r = 0; r < rows; r += batch) {
          const int64_t n = std::min(batch, rows - r);
          importance.Add({all.data() + r * 37, static_cast<size_t>(n * 37)});
        }
        EXPECT_EQ(importance.rows(), rows);
        const std::vector<float> got = importance.Importance();
        for (int c = 0; c < 37; ++c) ASSERT_FLOAT_EQ(got[c], expected[c]) << rows << " " << batch;
      }
    }
  }
}

TEST(ChannelImportanceTest, AscendingDescendingAndEqualRows) {
  for (const int direction : {-1, 0, 1}) {
    Matrix m(500, 3);
    for (int r = 0; r < 500; ++r) m.row(r).setConstant(1000.0f + direction * r);
    ChannelImportance importance(3, 500);
    importance.Add({m.data(), static_cast<size_t>(m.size())});
    EXPECT_EQ(importance.Importance(), SortedImportance(m, 0.2));
  }
}

TEST(ChannelImportanceTest, RowsPastTheLimitAndNaNsAreHarmless) {
  ChannelImportance importance(2, 3);
  EXPECT_THAT(importance.Importance(), Each(0.0f));
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> values = {nan, 1, -2, nan, 1, nan, 100, 100};
  importance.Add(values);
  EXPECT_EQ(importance.rows(), 3);
  EXPECT_THAT(importance.Importance(), testing::ElementsAre(2, 1));
  importance.Add(values);
  EXPECT_EQ(importance.rows(), 3);
}

TEST(ProxyTest, WithEverythingKeptTheProxyIsTheFfn) {
  for (const auto& [width, channels] : {std::pair{12, 20}, std::pair{20, 12}, std::pair{1, 3}}) {
    const Ffn ffn = RandomFfn(width, channels);
    const std::vector<float> importance(channels, 1.0f);
    const auto proxy = BuildProxy(ffn.weights(), importance, {channels, std::min(width, channels)});
    ASSERT_TRUE(proxy.ok()) << proxy.status();
    for (uint32_t seed = 10; seed < 15; ++seed) {
      const std::vector<float> h = Row(width, seed);
      EXPECT_NEAR(Norm(*proxy, h), ExactNorm(ffn, h), 1e-4 * ExactNorm(ffn, h));
    }
  }
}

TEST(ProxyTest, FactorsAreTheTruncatedSvdOfTheKeptRows) {
  for (const auto& [width, channels] : {std::pair{30, 50}, std::pair{16, 60}}) {
    const Ffn ffn = RandomFfn(width, channels);
    std::vector<float> importance(channels);
    for (int c = 0; c < channels; ++c) importance[c] = static_cast<float>((c * 7) % channels);
    const int d_low = 20, rank = 6;
    const auto proxy = BuildProxy(ffn.weights(), importance, {d_low, rank});
    ASSERT_TRUE(proxy.ok());
    Matrix gate(d_low, width), down(width, d_low);
    int row = 0;
    for (float want = channels - 1; want >= channels - d_low; --want, ++row) {
      const int c = std::find(importance.begin(), importance.end(), want) - importance.begin();
      gate.row(row) = ffn.gate.row(c);
      down.col(row) = ffn.down.col(c);
    }
    const Matrix approx =
        Map(proxy->gate_b.data(), d_low, rank) * Map(proxy->gate_a.data(), rank, width);
    const Eigen::BDCSVD<Eigen::MatrixXd> svd(gate.cast<double>(),
                                             Eigen::ComputeThinU | Eigen::ComputeThinV);
    const Eigen::MatrixXd best = svd.matrixU().leftCols(rank) *
                                 svd.singularValues().head(rank).asDiagonal() *
                                 svd.matrixV().leftCols(rank).transpose();
    EXPECT_LT((approx.cast<double>() - best).norm(), 1e-5 * best.norm());
    const Matrix gram = down.transpose() * down;
    EXPECT_LT((Map(proxy->gram.data(), d_low, d_low) - gram).norm(), 1e-5 * gram.norm());
  }
}

TEST(ProxyTest, WhatDoesNotFitIsRefused) {
  Ffn ffn = RandomFfn(8, 16);
  const std::vector<float> importance(16, 1.0f);
  const auto code = [&](const Ffn& f, const std::vector<float>& i, ProxyShape shape) {
    return BuildProxy(f.weights(), i, shape).status().code();
  };
  constexpr auto kBad = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(code(ffn, importance, {16, 8}), absl::StatusCode::kOk);
  for (const ProxyShape shape : {ProxyShape{17, 4}, {16, 9}, {4, 5}, {0, 0}, {4, 0}, {-1, -1}}) {
    EXPECT_EQ(code(ffn, importance, shape), kBad) << shape.d_low << " " << shape.rank;
  }
  EXPECT_EQ(code(ffn, std::vector<float>(15, 1.0f), {8, 4}), kBad);
  std::vector<float> nan = importance;
  nan[3] = std::nanf("");
  EXPECT_EQ(code(ffn, nan, {8, 4}), kBad);
  Ffn other = ffn;
  other.down = Random(9, 16, 5);
  EXPECT_EQ(code(other, importance, {8, 4}), kBad);
  ffn.up(3, 3) = std::numeric_limits<float>::infinity();
  EXPECT_EQ(code(ffn, importance, {16, 4}), kBad);
}

// The golden file's importance comes from the reference's own calibration run; see
// tests/golden/make_spts_golden.py for its shape.
TEST(ProxyTest, AgreesWithTheReferenceOnTheTinyModel) {
  const std::string folder = std::string(SKIPSERVE_SOURCE_DIR) + "/tests/golden/";
  std::ifstream in(folder + "spts_tiny.json");
  const nlohmann::json golden = nlohmann::json::parse(in).at("proxy");
  const auto model = ModelFile::Open(folder + "tiny/tiny.gguf");
  ASSERT_TRUE(model.ok()) << model.status();
  const ProxyShape shape{golden.at("d_low"), golden.at("rank")};
  for (int32_t layer = 0; layer < (*model)->config().layers; ++layer) {
    const std::string mlp = "model.layers." + std::to_string(layer) + ".mlp.";
    const auto proxy = BuildProxy(
        {*(*model)->Tensor(mlp + "gate_proj.weight"), *(*model)->Tensor(mlp + "up_proj.weight"),
         *(*model)->Tensor(mlp + "down_proj.weight")},
        golden.at("importance").at(layer).get<std::vector<float>>(), shape);
    ASSERT_TRUE(proxy.ok()) << proxy.status();
    const auto& rows = golden.at("input_rows");
    for (size_t i = 0; i < rows.size(); ++i) {
      const double expected = golden.at("norms").at(layer).at(rows[i].get<int>());
      const auto input = golden.at("inputs").at(layer).at(i).get<std::vector<float>>();
      EXPECT_NEAR(Norm(*proxy, input), expected, 1e-4 * expected) << layer << " " << rows[i];
    }
  }
}

}  // namespace
}  // namespace skipserve
