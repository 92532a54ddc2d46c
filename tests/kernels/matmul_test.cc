// The matrix product: every path (few rows, many rows, packed) against the reference.
#include <algorithm>
#include <cmath>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/bf16.h"
#include "kernels/reference/reference_ops.h"
#include "tests/kernels/products.h"

namespace skipserve::testing {
namespace {

TEST(MatMul, MatchesReference) {
  struct Case {
    int64_t n, k;
  };
  for (const WeightType type : kTypes) {
    for (const Case& c : {Case{1, 1}, Case{7, 33}, Case{64, 64}, Case{100, 72}, Case{192, 576},
                          Case{301, 131}, Case{100, 96}, Case{301, 160}, Case{768, 576}}) {
      if (!Keeps(type, c.k)) continue;
      const Matrix w = Random(c.n, c.k, 1);
      for (const int64_t m : {0, 1, 2, 3, 4, 5, 7, 8, 31, 32, 33, 64, 100, 257}) {
        const Matrix a = Random(m, c.k, 2);
        const auto reference = MakeReferenceOps();
        const auto exact = Load(*reference, w, type);
        const Matrix read = Product(*reference, kPrefill, a, *exact);
        const bool decodes = m <= Ops::kMaxDecodeRows;
        const Matrix decoded = decodes ? Product(*reference, kDecode, a, *exact) : read;
        SCOPED_TRACE(::testing::Message() << "n " << c.n << " k " << c.k << " m " << m);
        ForEachCpu([&](Ops& cpu) {
          const auto weight = Load(cpu, w, type);
          for (const Operation operation : {kPrefill, kDecode}) {
            if (operation == kDecode && !decodes) continue;
            const Matrix& expected = operation == kDecode ? decoded : read;
            const double tolerance = Tolerance(a, w, type, operation);
            EXPECT_LE(MaxDifference(Product(cpu, operation, a, *weight), expected), tolerance);
            EXPECT_LE(MaxDifference(Product(cpu, operation, a, *weight, 5), expected), tolerance);
          }
        });
      }
    }
  }
}

TEST(MatMul, ReferenceMatchesFormula) {
  const Matrix a = Random(3, 50, 3), w = Random(4, 50, 4);
  Matrix expected(3, 4);
  for (int64_t i = 0; i < 3; ++i) {
    for (int64_t j = 0; j < 4; ++j) {
      double sum = 0.0;
      for (int64_t k = 0; k < 50; ++k) sum += double{a.at(i, k)} * Bf16ToF32(F32ToBf16(w.at(j, k)));
      expected.at(i, j) = static_cast<float>(sum);
    }
  }
  const auto reference = MakeReferenceOps();
  EXPECT_LE(MaxDifference(Product(*reference, kPrefill, a, *Load(*reference, w, WeightType::kBF16)),
                          expected),
            51 * kUnit * MaxRowNorm(a, 50) * MaxRowNorm(w, 50));
}

// Rows of `a` in pieces of `step`.
Matrix InPieces(Ops& ops, Operation operation, const Matrix& a, const Weight& w, int64_t step) {
  Matrix out(a.rows, w.out_features());
  for (int64_t begin = 0; begin < a.rows; begin += step) {
    Matrix piece(std::min(step, a.rows - begin), a.cols);
    std::copy_n(a.row(begin), piece.values.size(), piece.values.begin());
    const Matrix y = Product(ops, operation, piece, w);
    std::copy(y.values.begin(), y.values.end(), out.values.begin() + begin * out.cols);
  }
  return out;
}

TEST(MatMul, ARowDependsNeitherOnTheOthersNorOnTheirNumber) {
  for (const WeightType type : kTypes) {
    for (const Shape& shape : {Shape{77, 203}, Shape{768, 576}, Shape{576, 1536}}) {
      const int64_t k = shape.k;
      if (!Keeps(type, k)) continue;
      const Matrix w = Random(shape.n, k, 5), a = Random(300, k, 6);
      ForEachCpu([&](Ops& cpu) {
        const auto weight = Load(cpu, w, type);
        const Matrix alone = InPieces(cpu, kPrefill, a, *weight, 1);
        for (const int64_t step : {3, 31, 32, 33, 77, 128, 129, 300}) {
          EXPECT_EQ(InPieces(cpu, kPrefill, a, *weight, step).values, alone.values)
              << "type " << int(type) << " k " << k << " rows " << step;
        }
        const Matrix decoded = InPieces(cpu, kDecode, a, *weight, 1);
        for (const int64_t step : {2, 3, 5, 6, 12, 31, 32}) {
          EXPECT_EQ(InPieces(cpu, kDecode, a, *weight, step).values, decoded.values)
              << "decode, type " << int(type) << " k " << k << " rows " << step;
        }
      });
    }
  }
}

TEST(MatMul, BadNumbersStayInTheirRow) {
  Matrix a = Random(40, 64, 7);
  a.at(3, 5) = std::numeric_limits<float>::quiet_NaN();
  a.at(4, 5) = std::numeric_limits<float>::infinity();
  const Matrix w = Random(20, 64, 8);
  for (const WeightType type : kTypes) {
    ForEachCpu([&](Ops& cpu) {
      const Matrix y = Product(cpu, kPrefill, a, *Load(cpu, w, type));
      for (int64_t i = 0; i < a.rows; ++i) {
        EXPECT_EQ(std::isfinite(y.at(i, 0)), i != 3 && i != 4) << "row " << i;
      }
    });
  }
}

TEST(MatMul, BadNumbersStayInTheirRowOfADecodeStep) {
  Matrix a = Random(6, 64, 7);
  a.at(3, 5) = std::numeric_limits<float>::quiet_NaN();
  a.at(4, 5) = -std::numeric_limits<float>::infinity();
  std::fill_n(a.values.begin() + 5 * 64, 64, 0.0f);
  const Matrix w = Random(20, 64, 8);
  for (const WeightType type : kTypes) {
    ForEachCpu([&](Ops& cpu) {
      const Matrix y = Product(cpu, kDecode, a, *Load(cpu, w, type));
      for (int64_t i = 0; i < a.rows; ++i) {
        EXPECT_EQ(std::isfinite(y.at(i, 0)), i != 3 && i != 4) << "row " << i;
      }
      EXPECT_EQ(y.at(5, 0), 0.0f);
    });
  }
}

// Scales that float16 has not: a Q4_K block's are products.
TEST(Embed, FourBitsOfEveryBackendAreTheSame) {
  WeightSource source;
  source.out_features = 3;
  source.in_features = 64;
  source.read_four_bits = [](int64_t begin, int64_t count, const FourBitRows& out) {
    for (int64_t i = 0; i < count * 64; ++i) out.codes[i] = static_cast<uint8_t>((begin + i) % 16);
    for (int64_t i = 0; i < count * 2; ++i) {
      out.scales[i] = 0.1f * static_cast<float>(begin + i + 1);
      out.minima[i] = -0.7f / static_cast<float>(begin + i + 1);
    }
  };
  const auto rows = [&](Ops& ops) {
    const auto table = *ops.LoadWeight(source, WeightType::kInt4, WeightUse::kDecode);
    const Device out = Device::Empty(ops, 3, 64);
    ops.Embed(*table, DeviceIndex(ops, {0, 1, 2}).view(), out.view());
    return out.Get().values;
  };
  const std::vector<float> expected = rows(*MakeReferenceOps());
  EXPECT_NEAR(expected[1], 0.1f - 0.7f, 1e-3);
  ForEachCpu([&](Ops& cpu) { EXPECT_EQ(rows(cpu), expected); });
}

TEST(Embed, LooksUpRoundedRows) {
  const std::vector<int32_t> ids = {49, 0, 7, 7, 23};
  for (const WeightType type : kTypes) {
    for (const int64_t width : {37, 40, 64, 576}) {
      if (!Keeps(type, width)) continue;
      const Matrix table = Random(50, width, 9);
      const Matrix kept = type == WeightType::kInt4 ? FourBitMatrix(table).Values() : table;
      Matrix expected(5, width);
      for (int64_t i = 0; i < 5; ++i) {
        for (int64_t j = 0; j < width; ++j) {
          const float x = kept.at(ids[i], j);
          expected.at(i, j) = type == WeightType::kBF16 ? Bf16ToF32(F32ToBf16(x)) : x;
        }
        if (type == WeightType::kInt8) RoundToInt8(expected.values.data() + i * width, width);
      }
      const auto check = [&](Ops& ops) {
        const Device out = Device::Empty(ops, 5, width, 2);
        ops.Embed(*Load(ops, table, type), DeviceIndex(ops, ids).view(), out.view());
        EXPECT_EQ(out.Get().values, expected.values) << width;
      };
      check(*MakeReferenceOps());
      ForEachCpu(check);
    }
  }
}

TEST(LoadWeight, SaysWhatItHolds) {
  const Matrix w = Random(9, 10, 10);
  for (const auto& ops : {MakeReferenceOps(), MakeCpuOps(2)}) {
    const auto weight = Load(*ops, w, WeightType::kBF16);
    EXPECT_EQ(weight->out_features(), 9);
    EXPECT_EQ(weight->in_features(), 10);
    EXPECT_GE(weight->bytes(), 9u * 10u * 2u);
  }
}

bool SameBits(const Matrix& a, const Matrix& b) {
  return a.values.size() == b.values.size() &&
         std::equal(a.values.begin(), a.values.end(), b.values.begin(),
                    [](float x, float y) { return x == y || (std::isnan(x) && std::isnan(y)); });
}

// A third of the rows of x, out of order; or all of them.
std::vector<int32_t> SomeRows(int64_t m, bool all) {
  return all ? std::vector<int32_t>{} : RandomRows((m + 2) / 3, m, 21);
}

TEST(NormMatMul, EqualsItsPartsInTurn) {
  for (const WeightType type : kTypes) {
    for (const int64_t width : {2, 101, 576}) {
      if (!Keeps(type, width)) continue;
      const Matrix wide = Random(768, width, 13), narrow = Random(192, width, 16);
      const auto check = [&](Ops& ops) {
        const auto first = Load(ops, wide, type), second = Load(ops, narrow, type);
        const Device gain(ops, Random(1, width, 17));
        for (const int64_t m : {1, 64, 65, 200}) {
          for (const bool all : {true, false}) {
            const Device x(ops, Random(m, width, 15), 2);
            const DeviceIndex rows(ops, SomeRows(m, all));
            const int64_t n = all ? m : rows.view().size;
            const Device h = Device::Empty(ops, n, width), a = Device::Empty(ops, n, 768),
                         b = Device::Empty(ops, n, 192, 3);
            const Projection both[] = {{first.get(), a.view()}, {second.get(), b.view()}};
            ops.RmsNorm(x.view(), rows.view(), gain.view(), 1e-5f, h.view());
            ops.NormMatMul(x.view(), rows.view(), gain.view(), 1e-5f, both);
            EXPECT_EQ(a.Get().values, Product(ops, kPrefill, h.Get(), *first).values) << width;
            EXPECT_EQ(b.Get().values, Product(ops, kPrefill, h.Get(), *second).values) << width;
          }
        }
      };
      if (width < 100) check(*MakeReferenceOps());
      ForEachCpu(check);
    }
  }
}

TEST(MatMulAdd, EqualsBothInTurn) {
  for (const WeightType type : kTypes) {
    for (const Shape& shape : {Shape{3, 2}, Shape{65, 101}, Shape{65, 96}, Shape{576, 576}}) {
      if (!Keeps(type, shape.k)) continue;
      const Matrix w = Random(shape.n, shape.k, 13);
      const auto check = [&](Ops& ops) {
        const auto weight = Load(ops, w, type);
        for (const int64_t m : {1, 64, 65, 200}) {
          for (const bool all : {true, false}) {
            const Matrix x = Random(m, shape.n, 15);
            const DeviceIndex rows(ops, SomeRows(m, all));
            const Matrix a = Random(all ? m : rows.view().size, shape.k, 14);
            const Device expected(ops, x, 2), got(ops, x, 2), in(ops, a, 1);
            const Device product(ops, Product(ops, kPrefill, a, *weight));
            ops.AddRows(expected.view(), rows.view(), product.view());
            ops.MatMulAdd(in.view(), *weight, got.view(), rows.view());
            EXPECT_EQ(got.Get().values, expected.Get().values)
                << "n " << shape.n << " k " << shape.k << " m " << m << " all " << all;
          }
        }
      };
      if (shape.n < 100) check(*MakeReferenceOps());
      ForEachCpu(check);
    }
  }
}

TEST(FeedForward, EqualsItsPartsInTurn) {
  struct Case {
    int64_t width, hidden;
  };
  for (const WeightType type : kTypes) {
    for (const Case& c : {Case{3, 2}, Case{65, 101}, Case{101, 128}, Case{64, 96}, Case{64, 128},
                          Case{576, 1536}}) {
      if (!Keeps(type, c.width) || !Keeps(type, c.hidden)) continue;
      const Matrix gate_up = Random(2 * c.hidden, c.width, 13, 0.2f);
      const Matrix down = Random(c.width, c.hidden, 16, 0.2f);
      const auto check = [&](Ops& ops) {
        const auto wide = Load(ops, gate_up, type, WeightUse::kGated);
        const auto back = Load(ops, down, type);
        const auto plain = Load(ops, gate_up, type);
        const Device gain(ops, Random(1, c.width, 17));
        for (const int64_t m : {0, 1, 64, 65, 300}) {
          for (const bool all : {true, false}) {
            Matrix x = Random(m, c.width, 15);
            if (m == 300) x.at(7, 1) = std::numeric_limits<float>::quiet_NaN();
            const DeviceIndex rows(ops, SomeRows(m, all));
            const int64_t n = all ? m : rows.view().size;
            const Device expected(ops, x, 2), got(ops, x, 2);
            const Device h = Device::Empty(ops, n, c.width),
                         hidden = Device::Empty(ops, n, c.hidden);
            ops.RmsNorm(expected.view(), rows.view(), gain.view(), 1e-5f, h.view());
            const Matrix both = Product(ops, kPrefill, h.Get(), *wide);
            EXPECT_LE(MaxDifference(both, Product(ops, kPrefill, h.Get(), *plain)),
                      Tolerance(h.Get(), gate_up, WeightType::kF32, kPrefill));
            ops.SwiGlu(Device(ops, both).view(), hidden.view());
            ops.MatMulAdd(hidden.view(), *back, expected.view(), rows.view());
            ops.FeedForward(got.view(), rows.view(), {gain.view(), 1e-5f, wide.get(), back.get()});
            EXPECT_TRUE(SameBits(got.Get(), expected.Get()))
                << "width " << c.width << " hidden " << c.hidden << " m " << m << " all " << all;
          }
        }
      };
      if (c.width < 100) check(*MakeReferenceOps());
      ForEachCpu(check);
    }
  }
}

// A file in 4 bits often has some weights in more.
TEST(FeedForward, TakesWeightsOfTwoTypes) {
  const Matrix gate_up = Random(2 * 128, 64, 13, 0.2f), down = Random(64, 128, 16, 0.2f);
  for (const auto& [first, second] : {std::pair(WeightType::kInt4, WeightType::kInt8),
                                      std::pair(WeightType::kInt8, WeightType::kInt4),
                                      std::pair(WeightType::kBF16, WeightType::kInt4)}) {
    ForEachCpu([&, a = first, b = second](Ops& ops) {
      const auto wide = Load(ops, gate_up, a, WeightUse::kGated), back = Load(ops, down, b);
      const Device gain(ops, Random(1, 64, 17)), x(ops, Random(70, 64, 15));
      const Device expected(ops, x.Get()),
          h = Device::Empty(ops, 70, 64), hidden = Device::Empty(ops, 70, 128),
          up = Device::Empty(ops, 70, 256), out = Device::Empty(ops, 70, 256);
      ops.RmsNorm(x.view(), {}, gain.view(), 1e-5f, h.view());
      ops.MatMul(h.view(), *wide, up.view());
      const Projection both[] = {{wide.get(), out.view()}};
      ops.NormMatMul(x.view(), {}, gain.view(), 1e-5f, both);
      EXPECT_EQ(out.Get().values, up.Get().values);
      ops.SwiGlu(up.view(), hidden.view());
      ops.MatMulAdd(hidden.view(), *back, expected.view(), {});
      ops.FeedForward(x.view(), {}, {gain.view(), 1e-5f, wide.get(), back.get()});
      EXPECT_EQ(x.Get().values, expected.Get().values);
    });
  }
}

}  // namespace
}  // namespace skipserve::testing
