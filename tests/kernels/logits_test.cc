// The passes over a row of logits against loops in double, on every SIMD target of the machine.
#include "kernels/logits.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "tests/kernels/support.h"

namespace skipserve::testing {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kLargest = std::numeric_limits<float>::max();

float Tamed(float x) { return std::isnan(x) ? -kInf : std::min(x, kLargest); }

// Rows of every length around a vector's, with ties, NaN and infinities among them.
std::vector<float> Row(std::mt19937& bits, int round) {
  std::vector<float> row(bits() % (round % 8 == 0 ? 5000 : 70));
  std::normal_distribution<float> normal(0.0f, 4.0f);
  for (float& x : row) {
    x = round % 2 ? normal(bits) : static_cast<float>(bits() % 4);
    if (round % 3) continue;
    if (bits() % 8 == 0) x = kNan;
    if (bits() % 8 == 0) x = -kInf;
    if (bits() % 32 == 0) x = bits() % 2 ? kInf : kLargest;
  }
  return row;
}

void ForRows(const std::function<void(const std::vector<float>&, std::mt19937&)>& check) {
  ForEachCpu([&](Ops&) {
    std::mt19937 bits(3);
    for (int round = 0; round < 400; ++round) check(Row(bits, round), bits);
  });
}

int64_t BestByLoop(const std::vector<float>& row) {
  int64_t best = -1;
  for (size_t i = 0; i < row.size(); ++i) {
    if (Tamed(row[i]) > (best < 0 ? -kInf : Tamed(row[best]))) best = i;
  }
  return best;
}

TEST(Logits, BestIsTheFirstOfTheLargest) {
  ForRows([](const std::vector<float>& row, std::mt19937&) {
    ASSERT_EQ(BestLogit(row), BestByLoop(row)) << row.size();
  });
  EXPECT_EQ(BestLogit({}), -1);
  EXPECT_EQ(BestLogit(std::vector<float>(33, kNan)), -1);
  EXPECT_EQ(BestLogit(std::vector<float>{-kInf, -kLargest}), 1);
}

TEST(Logits, NextIsTheFirstThatReachesTheBound) {
  ForRows([](const std::vector<float>& row, std::mt19937& bits) {
    const auto size = static_cast<int64_t>(row.size());
    for (const float least : {-kInf, -kLargest, 0.0f, 2.0f, 7.5f, kLargest, kInf}) {
      const int64_t begin = bits() % (size + 1);
      int64_t expected = begin;
      while (expected < size && !(Tamed(row[expected]) >= std::max(least, -kLargest))) ++expected;
      ASSERT_EQ(NextAtLeast(row, begin, least), expected) << size << " from " << begin;
    }
  });
}

TEST(Logits, SumOfExpIsWithinItsBound) {
  ForRows([](const std::vector<float>& row, std::mt19937&) {
    const int64_t best = BestByLoop(row);
    if (best < 0) return;
    const float max = Tamed(row[best]);
    for (const float temperature : {1e-30f, 0.3f, 1.0f, 5.0f, kLargest}) {
      double sum = 0, allowed = 0;
      for (const float x : row) {
        // The difference is a float's: that is part of the contract's (1 + |x|).
        const double exponent = (double{Tamed(x)} - max) / temperature;
        const double term = std::exp(exponent);
        sum += term;
        if (term > 0) allowed += 5e-7 * (1 - exponent) * term + 1e-37;
      }
      ASSERT_NEAR(SumOfExp(row, max, temperature), sum, allowed)
          << row.size() << " at " << temperature;
    }
  });
  EXPECT_EQ(SumOfExp(std::vector<float>{2, 2, -kInf, kNan}, 2, 1), 2.0);  // exact where it can be
}

TEST(Logits, TamingLeavesOrdinaryLogitsAlone) {
  ForRows([](const std::vector<float>& row, std::mt19937&) {
    std::vector<float> out(row.size() + 1, 42.0f);
    TameLogits(row, out.data());
    for (size_t i = 0; i < row.size(); ++i) ASSERT_EQ(out[i], Tamed(row[i])) << i;
    ASSERT_EQ(out.back(), 42.0f);
  });
}

}  // namespace
}  // namespace skipserve::testing
