// Operations on rows: norms, rotary embedding, activations, sums and gathers.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "gtest/gtest.h"
#include "tests/kernels/support.h"

namespace skipserve::testing {
namespace {

const std::vector<int64_t> kWidths = {1, 7, 8, 33, 64, 576, 1003};

TEST(RmsNorm, MatchesReference) {
  for (const int64_t width : kWidths) {
    const Matrix x = Random(9, width, 1), gain = Random(1, width, 2);
    for (const std::vector<int32_t>& rows : {std::vector<int32_t>{}, {8, 0, 3, 3}}) {
      const int64_t count = rows.empty() ? 9 : static_cast<int64_t>(rows.size());
      const auto run = [&](Ops& ops) {
        const Device dx(ops, x, 3), dg(ops, gain);
        const Device out = Device::Empty(ops, count, width, 1);
        ops.RmsNorm(dx.view(), DeviceIndex(ops, rows).view(), dg.view(), 1e-5f, out.view());
        return out.Get();
      };
      const Matrix expected = run(*MakeReferenceOps());
      // The sum of squares errs by width roundings, its root by half of that; four more operations.
      double largest = 0.0;
      for (const float v : expected.values) largest = std::max(largest, std::abs(double{v}));
      const double tolerance = (width + 8) * kUnit * largest;
      ForEachCpu([&](Ops& cpu) { EXPECT_LE(MaxDifference(run(cpu), expected), tolerance); });
      for (int64_t i = 0; i < count; ++i) {
        const int64_t r = rows.empty() ? i : rows[i];
        double sum = 0.0;
        for (int64_t j = 0; j < width; ++j) sum += double{x.at(r, j)} * x.at(r, j);
        for (int64_t j = 0; j < width; ++j) {
          const double want = x.at(r, j) / std::sqrt(sum / width + 1e-5) * gain.at(0, j);
          ASSERT_NEAR(expected.at(i, j), want, tolerance);
        }
      }
    }
  }
}

TEST(Rope, MatchesReferenceAndRotates) {
  for (const int64_t dim : {8, 16, 24, 64, 128}) {
    const int64_t heads = 3, positions = 50, half = dim / 2;
    Matrix cos(positions, half), sin(positions, half);
    for (int64_t p = 0; p < positions; ++p) {
      for (int64_t j = 0; j < half; ++j) {
        cos.at(p, j) = static_cast<float>(std::cos(p * std::pow(100.0, -double(j) / half)));
        sin.at(p, j) = static_cast<float>(std::sin(p * std::pow(100.0, -double(j) / half)));
      }
    }
    const Matrix x = Random(5, heads * dim, 3);
    const std::vector<int32_t> at = {0, 49, 7, 7, 1};
    const auto run = [&](Ops& ops) {
      const Device dx(ops, x, 4), dc(ops, cos, 1), ds(ops, sin, 2);
      ops.Rope(dx.view(), DeviceIndex(ops, at).view(), {dc.view(), ds.view()}, dim);
      return dx.Get();
    };
    const Matrix expected = run(*MakeReferenceOps());
    const double tolerance = 4 * kUnit * MaxRowNorm(x, dim);
    ForEachCpu([&](Ops& cpu) { EXPECT_LE(MaxDifference(run(cpu), expected), tolerance); });
    for (int64_t i = 0; i < 5; ++i) {
      for (int64_t h = 0; h < heads; ++h) {
        for (int64_t j = 0; j < half; ++j) {
          const double a = x.at(i, h * dim + j), b = x.at(i, h * dim + j + half);
          const double angle = at[i] * std::pow(100.0, -double(j) / half);
          ASSERT_NEAR(expected.at(i, h * dim + j), a * std::cos(angle) - b * std::sin(angle),
                      tolerance);
          ASSERT_NEAR(expected.at(i, h * dim + j + half), b * std::cos(angle) + a * std::sin(angle),
                      tolerance);
        }
      }
    }
  }
}

TEST(SwiGlu, MatchesReference) {
  for (const int64_t width : kWidths) {
    Matrix x = Random(4, 2 * width, 4, 3.0f);
    // Far out, where the exponential ends; up is 1 so that an error is not scaled.
    const std::vector<float> gates = {0.0f,   -0.0f, 100.0f, -100.0f, 88.2f,
                                      -88.2f, 1e30f, -1e30f, 1e-30f};
    for (size_t j = 0; j < gates.size() && static_cast<int64_t>(j) < width; ++j) {
      x.at(3, j) = gates[j];
      x.at(3, width + j) = 1.0f;
    }
    const auto run = [&](Ops& ops) {
      const Device dx(ops, x, 1);
      const Device out = Device::Empty(ops, 4, width, 3);
      ops.SwiGlu(dx.view(), out.view());
      return out.Get();
    };
    const Matrix expected = run(*MakeReferenceOps());
    ForEachCpu([&](Ops& cpu) {
      const Matrix got = run(cpu);
      for (int64_t i = 0; i < 4; ++i) {
        for (int64_t j = 0; j < width; ++j) {
          const double gate = x.at(i, j), up = x.at(i, width + j);
          const double want = gate / (1.0 + std::exp(-gate)) * up;
          // About ten roundings; results below 1e-30 may be flushed to zero.
          ASSERT_NEAR(expected.at(i, j), want, 10 * kUnit * std::abs(want) + 1e-30);
          ASSERT_NEAR(got.at(i, j), want, 10 * kUnit * std::abs(want) + 1e-30) << gate;
        }
      }
    });
  }
}

// These compute each element once: exact on every backend.
TEST(ElementWise, Exact) {
  for (const int64_t width : kWidths) {
    const Matrix x = Random(20, width, 5), delta = Random(6, width, 6), bias = Random(1, width, 7);
    const std::vector<int32_t> rows = RandomRows(6, 20, 8);
    Matrix biased = x, added = x, first = x, gathered(6, width), product(1, width);
    for (int64_t j = 0; j < width; ++j) {
      for (int64_t i = 0; i < 20; ++i) biased.at(i, j) += bias.at(0, j);
      for (int64_t i = 0; i < 6; ++i) {
        added.at(rows[i], j) += delta.at(i, j);
        first.at(i, j) += delta.at(i, j);
        gathered.at(i, j) = x.at(rows[i], j);
      }
      product.at(0, j) = x.at(0, j) * x.at(1, j);
    }
    const auto check = [&](Ops& ops) {
      const DeviceIndex index(ops, rows), none(ops, {});
      const Device b(ops, bias), d(ops, delta, 2);
      {
        const Device y(ops, x, 1);
        ops.AddBias(y.view(), b.view());
        EXPECT_EQ(y.Get().values, biased.values);
      }
      {
        const Device y(ops, x, 1);
        ops.AddRows(y.view(), index.view(), d.view());
        EXPECT_EQ(y.Get().values, added.values);
      }
      {
        const Device y(ops, x, 1);
        ops.AddRows(y.view(), none.view(), d.view());
        EXPECT_EQ(y.Get().values, first.values);
      }
      const Device y(ops, x, 1);
      const Device out = Device::Empty(ops, 6, width, 1);
      ops.GatherRows(y.view(), index.view(), out.view());
      EXPECT_EQ(out.Get().values, gathered.values);
      const Device p = Device::Empty(ops, 1, width);
      ops.Multiply(y.view().Rows(0, 1).data, y.view().Rows(1, 1).data, width, p.view().data);
      EXPECT_EQ(p.Get().values, product.values);
      ops.Multiply(p.view().data, y.view().data, 0, p.view().data);
      EXPECT_EQ(p.Get().values, product.values);
    };
    check(*MakeReferenceOps());
    ForEachCpu(check);
  }
}

TEST(GatherIndex, PicksValues) {
  const auto check = [](Ops& ops) {
    const DeviceIndex values(ops, {10, 11, 12, 13}), rows(ops, {3, 0, 0});
    Buffer out = *ops.Allocate(3 * sizeof(int32_t));
    ops.GatherIndex(values.view(), rows.view(), out.i32());
    std::vector<int32_t> got(3);
    ops.Download(out.data(), got.data(), 3 * sizeof(int32_t));
    EXPECT_EQ(got, (std::vector<int32_t>{13, 10, 10}));
  };
  check(*MakeReferenceOps());
  ForEachCpu(check);
}

TEST(RowDotSqrt, MatchesFormula) {
  for (const int64_t width : kWidths) {
    const Matrix a = Random(10, width, 9), b = Random(10, width, 10);
    const auto check = [&](Ops& ops) {
      const Device da(ops, a, 1), db(ops, b, 2);
      Device out = Device::Empty(ops, 2, 10);
      ops.RowDotSqrt(da.view(), db.view(), out.view().Rows(0, 1).data);
      ops.RowDotSqrt(da.view(), da.view(), out.view().Rows(1, 1).data);
      const Matrix got = out.Get();
      for (int64_t i = 0; i < 10; ++i) {
        double ab = 0.0, aa = 0.0, size = 0.0;
        for (int64_t j = 0; j < width; ++j) {
          ab += double{a.at(i, j)} * b.at(i, j);
          aa += double{a.at(i, j)} * a.at(i, j);
          size += std::abs(double{a.at(i, j)} * b.at(i, j));
        }
        // Compared before the root, which has no bounded slope at zero; 4 roundings for the root
        // and its square.
        const double error = (width + 4) * kUnit;
        ASSERT_NEAR(double{got.at(0, i)} * got.at(0, i), std::max(0.0, ab), error * size);
        ASSERT_NEAR(double{got.at(1, i)} * got.at(1, i), aa, error * aa);
      }
    };
    check(*MakeReferenceOps());
    ForEachCpu(check);
  }
}

TEST(RowOps, NoRowsDoNothing) {
  const auto check = [](Ops& ops) {
    const Device none = Device::Empty(ops, 0, 16), gain(ops, Matrix(1, 16)),
                 wide = Device::Empty(ops, 0, 32);
    const DeviceIndex no_rows(ops, {});
    ops.RmsNorm(none.view(), no_rows.view(), gain.view(), 1e-5f, none.view());
    ops.SwiGlu(wide.view(), none.view());
    ops.AddBias(none.view(), gain.view());
    ops.AddRows(none.view(), no_rows.view(), none.view());
    ops.GatherRows(none.view(), no_rows.view(), none.view());
    ops.GatherIndex(no_rows.view(), no_rows.view(), nullptr);
    ops.Rope(none.view(), no_rows.view(), {none.view(), none.view()}, 16);
    ops.RowDotSqrt(none.view(), none.view(), nullptr);
    ops.PrefillAttention(none.view(), {}, KvPool{nullptr, {DType::kF32, 16, 1, 16}}, none.view());
    ops.DecodeAttention(none.view(), {}, KvPool{nullptr, {DType::kF32, 16, 1, 16}}, none.view());
    ops.KvWrite(none.view(), none.view(), {}, KvPool{nullptr, {DType::kF32, 16, 1, 16}});
    ops.Embed(*Load(ops, Matrix(3, 16), WeightType::kF32), no_rows.view(), none.view());
  };
  check(*MakeReferenceOps());
  ForEachCpu(check);
}

}  // namespace
}  // namespace skipserve::testing
