// Weights as the CPU keeps them, and the decode kernels that read them, below the backend.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/bf16.h"
#include "kernels/cpu/four_bit_kernels.h"
#include "kernels/cpu/native_bf16.h"
#include "kernels/cpu/quantize.h"
#include "kernels/cpu/tiled_gemv.h"
#include "kernels/cpu/vnni_ready.h"
#include "kernels/reference/reference_ops.h"
#include "tests/kernels/products.h"

namespace skipserve::testing {
namespace {

// On any machine: what those with native bf16 or with AMX keep, and how vectors multiply it.
TEST(TiledWeights, KeepEveryRowAndMultiply) {
  for (const WeightType type : {WeightType::kBF16, WeightType::kInt8}) {
    for (const Shape& shape :
         {Shape{1, 1}, Shape{64, 32}, Shape{65, 33}, Shape{200, 576}, Shape{70, 578}}) {
      const Matrix w = Random(shape.n, shape.k, 15);
      cpu::ThreadPool pool(2);
      std::vector<cpu::Scratch> scratch(2);
      HostSlabs memory;
      const auto tiled = cpu::TiledWeights::Pack(SourceOf(w), type, memory, pool, scratch);
      ASSERT_TRUE(tiled.ok());
      Matrix rounded = w;
      for (int64_t i = 0; i < shape.n; ++i) {
        float* const row = rounded.values.data() + i * shape.k;
        if (type == WeightType::kInt8) RoundToInt8(row, shape.k);
        for (int64_t j = 0; type == WeightType::kBF16 && j < shape.k; ++j) {
          row[j] = Bf16ToF32(F32ToBf16(row[j]));
        }
      }
      Matrix read(shape.n, shape.k);
      for (int64_t i = 0; i < shape.n; ++i) tiled->Read(i, read.values.data() + i * shape.k);
      EXPECT_EQ(read.values, rounded.values);
      const auto reference = MakeReferenceOps();
      for (const int64_t m : {1, 2, 3, 4, 5, 32}) {
        const Matrix a = Random(m, shape.k, 16);
        const Matrix expected =
            Product(*reference, kPrefill, a, *Load(*reference, rounded, WeightType::kF32));
        ForEachTarget([&] {
          Matrix seen = a;
          for (int64_t i = 0; type == WeightType::kInt8 && i < m; ++i) {
            cpu::RotateRow(seen.values.data() + i * shape.k, shape.k);
          }
          const Device in(*reference, seen, 3), out = Device::Empty(*reference, m, shape.n, 5);
          cpu::TiledGemv(in.view(), *tiled, 0, tiled->output_blocks(), out.view());
          EXPECT_LE(MaxDifference(out.Get(), expected), Tolerance(a, w, WeightType::kF32, kDecode))
              << "n " << shape.n << " m " << m;
        });
      }
    }
  }
}

// Sums of codes are integers on vectors and tiles alike, so that prompts and decode steps get one
// result, the same on every machine with VNNI.
TEST(TiledWeights, SumsOfCodesAreExact) {
  if (!cpu::VnniReady()) GTEST_SKIP() << "this machine sums float32";
  for (const Shape& shape : {Shape{1, 4}, Shape{65, 33}, Shape{70, 64}, Shape{200, 576},
                             Shape{70, 2048}, Shape{3, 65536}}) {
    Matrix w = Random(shape.n, shape.k, 15), a = Random(20, shape.k, 16);
    for (int64_t j = 0; j < shape.k; ++j) {  // rotated, all codes are 127 or -127
      w.at(0, j) = a.at(0, j) = j % 64 == 0 ? 1.0f : 0.0f;
      a.at(1, j) = -a.at(0, j);
    }
    std::vector<int8_t> left(shape.k), right(shape.k);
    Matrix expected(a.rows, shape.n);
    for (int64_t i = 0; i < a.rows; ++i) {
      const float scale = cpu::QuantizeRow(a.row(i), shape.k, left.data());
      for (int64_t j = 0; j < shape.n; ++j) {
        const float by = cpu::QuantizeRow(w.row(j), shape.k, right.data());
        const int64_t sum = std::inner_product(left.begin(), left.end(), right.begin(), int64_t{0});
        expected.at(i, j) = static_cast<float>(sum) * (scale * by);
      }
    }
    ForEachCpu([&](Ops& cpu) {
      const auto weight = Load(cpu, w, WeightType::kInt8);
      EXPECT_EQ(Product(cpu, kPrefill, a, *weight).values, expected.values) << shape.k;
      EXPECT_EQ(Product(cpu, kDecode, a, *weight).values, expected.values) << shape.k;
    });
  }
}

// Beyond what 32 bits hold: a sum of 150,000 products of 127 by 127.
TEST(TiledWeights, WideSumsDoNotWrap) {
  constexpr int64_t kWide = 150016;
  Matrix w(64, kWide), a(2, kWide);
  for (int64_t j = 0; j < kWide; j += 64) w.at(0, j) = a.at(0, j) = 1.0f;
  ForEachCpu([&](Ops& cpu) {
    const auto weight = Load(cpu, w, WeightType::kInt8);
    for (const Operation operation : {kPrefill, kDecode}) {
      const float expected = kWide / 64;
      EXPECT_NEAR(Product(cpu, operation, a, *weight).at(0, 0), expected, 1e-3f * expected);
    }
  });
}

// Each row as alone, whatever the instruction set; one of 64 never leaves the registers.
TEST(QuantizeRows, EqualRowsInTurn) {
  for (const int64_t n : {5, 32, 64, 192}) {
    Matrix x = Random(9, n, 17);
    x.at(3, 1) = std::numeric_limits<float>::infinity();
    std::fill_n(x.values.begin() + 4 * n, n, 0.0f);
    std::vector<int8_t> first;
    ForEachTarget([&] {
      std::vector<int8_t> codes(9 * n), alone(n);
      std::vector<float> scales(9);
      cpu::QuantizeRows(x.values.data(), 9, n, codes.data(), scales.data());
      for (int64_t i = 0; i < 9; ++i) {
        const float scale = cpu::QuantizeRow(x.row(i), n, alone.data());
        EXPECT_TRUE(scales[i] == scale || (i == 3 && std::isnan(scale) && std::isnan(scales[i])));
        EXPECT_TRUE(std::equal(alone.begin(), alone.end(), codes.begin() + i * n));
      }
      EXPECT_EQ(scales[4], 0.0f);
      if (first.empty()) first = codes;
      EXPECT_EQ(codes, first) << n;
    });
  }
}

// The environment's word counts, or the tests that are run with it would test nothing.
TEST(FastBf16, IsWhatTheEnvironmentSays) {
  const char* const said = std::getenv("SKIPSERVE_FAST_BF16");
  if (said == nullptr) GTEST_SKIP() << "SKIPSERVE_FAST_BF16 says nothing";
  EXPECT_EQ(cpu::CpuHasFastBf16(), cpu::CpuHasBf16() && std::string(said) == "1");
}

TEST(FourBitWeights, KeepEveryRowAndMultiply) {
  for (const Shape& shape : {Shape{1, 32}, Shape{64, 64}, Shape{65, 96}, Shape{200, 576}}) {
    const Matrix w = Random(shape.n, shape.k, 15), values = FourBitMatrix(w).Values();
    cpu::ThreadPool pool(2);
    std::vector<cpu::Scratch> scratch(2);
    HostSlabs memory;
    const auto packed = cpu::FourBitWeights::Pack(SourceOf(w), memory, pool, scratch);
    ASSERT_TRUE(packed.ok());
    Matrix read(shape.n, shape.k);
    for (int64_t i = 0; i < shape.n; ++i) packed->Read(i, read.values.data() + i * shape.k);
    EXPECT_EQ(read.values, values.values);
    for (const int64_t m : {1, 2, 3, 4, 5, 8, 9, 16, 17, 20, 21, 24, 32}) {
      const Matrix a = Random(m, shape.k, 16);
      const auto reference = MakeReferenceOps();
      const Matrix expected =
          Product(*reference, kDecode, a, *Load(*reference, w, WeightType::kInt4));
      const int64_t groups = shape.k / FourBitRows::kGroup;
      const int64_t room = m + 7;  // what tiles read beside
      std::vector<int8_t> codes(room * shape.k, 77);
      std::vector<float> scales(room * groups), sums(room * groups, NAN);
      for (int64_t i = 0; i < m; ++i) {
        cpu::QuantizeGroups(a.row(i), shape.k, &codes[i * shape.k], &scales[i * groups],
                            &sums[i * groups]);
      }
      const cpu::CodedRows rows = {m, codes.data(), scales.data(), sums.data()};
      const auto multiply = [&](auto gemv) {
        const Device out = Device::Empty(*reference, m, shape.n, 5);
        gemv(rows, *packed, 0, 1, out.view());
        gemv(rows, *packed, 1, packed->output_blocks(), out.view());
        return out.Get();
      };
      Matrix last(0, 0);
      ForEachTarget([&] {
        last = multiply(&cpu::FourBitGemv);
        EXPECT_LE(MaxDifference(last, expected), Tolerance(a, w, WeightType::kInt4, kDecode))
            << "n " << shape.n << " m " << m;
      });
      if (cpu::VnniReady()) {
        EXPECT_EQ(multiply(&cpu::VnniGemv).values, last.values);
      }
      if (cpu::AmxReady()) {
        EXPECT_EQ(multiply(&cpu::AmxFourBitGemv).values, last.values);
      }
    }
  }
}

TEST(FourBitWeights, WidenToTheirValues) {
  const Matrix w = Random(200, 96, 15), values = FourBitMatrix(w).Values();
  cpu::ThreadPool pool(1);
  std::vector<cpu::Scratch> scratch(1);
  HostSlabs memory;
  const auto packed = cpu::FourBitWeights::Pack(SourceOf(w), memory, pool, scratch);
  ASSERT_TRUE(packed.ok());
  ForEachTarget([&] {
    std::vector<float> got(96 * 192, NAN);
    cpu::WidenToF32(*packed, 1, 4, got.data());
    for (int64_t i = 0; i < 96 * 192; ++i) {
      const int64_t output = 64 + i % 192, input = i / 192;
      const float want = output < 200 ? values.at(output, input) : 0.0f;
      ASSERT_NEAR(got[i], want, 4 * kUnit * (1 + std::abs(want))) << i;
    }
  });
}

// Prompts multiply what bf16 weights of the same values would be.
TEST(FourBitWeights, WidenToTheTilesOfTheirValues) {
  if (!cpu::CpuHasBf16()) GTEST_SKIP() << "this machine multiplies no bf16";
  const Matrix w = Random(200, 96, 15), values = FourBitMatrix(w).Values();
  cpu::ThreadPool pool(1);
  std::vector<cpu::Scratch> scratch(1);
  HostSlabs memory;
  const auto packed = cpu::FourBitWeights::Pack(SourceOf(w), memory, pool, scratch);
  const auto tiled =
      cpu::TiledWeights::Pack(SourceOf(values), WeightType::kBF16, memory, pool, scratch);
  ASSERT_TRUE(packed.ok() && tiled.ok());
  const int64_t words = tiled->input_blocks() * cpu::TiledWeights::kBlockBytes / sizeof(uint32_t);
  std::vector<uint32_t> got(3 * words);
  cpu::WidenToBf16(*packed, 1, 4, got.data());
  EXPECT_EQ(got, std::vector<uint32_t>(tiled->Outputs(1), tiled->Outputs(1) + 3 * words));
}

}  // namespace
}  // namespace skipserve::testing
