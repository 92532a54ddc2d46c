// KL and argmax of logits: known values, and rows that would overflow or say nothing.
#include "engine/quality/divergence.h"

#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"

namespace skipserve {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TEST(Divergence, IsTheSumOfPLogPOverQ) {
  const std::vector<float> p = {std::log(0.5f), std::log(0.25f), std::log(0.25f)};
  const std::vector<float> q = {std::log(0.25f), std::log(0.25f), std::log(0.5f)};
  EXPECT_NEAR(KlDivergence(p, q), 0.5 * std::log(2) + 0.25 * std::log(0.5), 1e-6);
  EXPECT_EQ(KlDivergence(p, p), 0);
}

TEST(Divergence, DoesNotDependOnWhatAllLogitsShare) {
  const std::vector<float> p = {1, 2, 3}, q = {3, 1, 0};
  const std::vector<float> high = {1001, 1002, 1003}, low = {-997, -999, -1000};
  EXPECT_NEAR(KlDivergence(high, low), KlDivergence(p, q), 1e-9);
  EXPECT_GT(KlDivergence(p, q), 0);
  EXPECT_NE(KlDivergence(p, q), KlDivergence(q, p));
}

TEST(Divergence, HoldsForLargeLogits) {
  const std::vector<float> p = {3e4f, 0}, q = {0, 3e4f};
  EXPECT_NEAR(KlDivergence(p, q), 3e4, 1e-6);
}

TEST(Divergence, WhatOneRulesOut) {
  const std::vector<float> both = {0, 0}, first = {0, -kInf};
  EXPECT_NEAR(KlDivergence(first, both), std::log(2), 1e-9);
  EXPECT_EQ(KlDivergence(both, first), kInf);
}

TEST(Divergence, OfNoDistributionIsNoNumber) {
  const std::vector<float> good = {0, 1};
  for (const std::vector<float>& bad : std::vector<std::vector<float>>{
           {}, {0}, {0, kNan}, {kNan, kNan}, {0, kInf}, {-kInf, -kInf}}) {
    EXPECT_TRUE(std::isnan(KlDivergence(good, bad)));
    EXPECT_TRUE(std::isnan(KlDivergence(bad, good)));
  }
}

TEST(ArgMax, IsTheFirstOfTheLargest) {
  EXPECT_EQ(ArgMax(std::vector<float>{1, 3, 3, 2}), 1);
  EXPECT_EQ(ArgMax(std::vector<float>{kNan, -5, kNan, -4}), 3);
  EXPECT_EQ(ArgMax(std::vector<float>{-kInf}), 0);
}

}  // namespace
}  // namespace skipserve
