// Means and their intervals against what can be computed by hand, and which cases count for what.
#include "engine/quality/summary.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace skipserve {
namespace {

using Values = std::vector<double>;

void ExpectEqual(const Estimate& a, const Estimate& b) {
  EXPECT_EQ(a.mean, b.mean);
  EXPECT_EQ(a.low, b.low);
  EXPECT_EQ(a.high, b.high);
}

TEST(RatioEstimateTest, OfTwoCasesByHand) {
  // Both draws the first: 1/1; both the second: 6/3; one each, half of the time: 7/4.
  const Estimate e = RatioEstimate(Values{1, 6}, Values{1, 3}, 7);
  EXPECT_DOUBLE_EQ(e.mean, 7.0 / 4);
  EXPECT_DOUBLE_EQ(e.low, 1);
  EXPECT_DOUBLE_EQ(e.high, 2);
}

TEST(RatioEstimateTest, WhatNeverVariesHasNoInterval) {
  ExpectEqual(RatioEstimate(Values{3}, Values{4}, 1), {0.75, 0.75, 0.75});
  ExpectEqual(RatioEstimate(Values{1, 2, 4}, Values{2, 4, 8}, 1), {0.5, 0.5, 0.5});
  ExpectEqual(RatioEstimate(Values{}, Values{}, 1), {0, 0, 0});
  ExpectEqual(RatioEstimate(Values{0, 0}, Values{0, 0}, 1), {0, 0, 0});
}

TEST(RatioEstimateTest, IntervalsOfManyCasesAreThoseOfTheMeansDistribution) {
  std::mt19937 bits(3);
  std::normal_distribution<double> normal(5, 2);
  const Values ones(400, 1.0);
  for (int round = 0; round < 5; ++round) {
    Values values(400);
    double sum = 0, squares = 0;
    for (double& v : values) {
      v = normal(bits);
      sum += v;
      squares += v * v;
    }
    const double mean = sum / 400, error = std::sqrt((squares / 400 - mean * mean) / 400);
    const Estimate e = RatioEstimate(values, ones, round);
    EXPECT_NEAR(e.mean, mean, 1e-12);
    EXPECT_LT(e.low, e.mean);
    EXPECT_GT(e.high, e.mean);
    // An end is the 25th of 1,000 draws: off by 0.08 standard errors, and five times that at most.
    EXPECT_NEAR(e.low, mean - 1.96 * error, 0.4 * error);
    EXPECT_NEAR(e.high, mean + 1.96 * error, 0.4 * error);
  }
}

TEST(RatioEstimateTest, DependsOnTheSeedAlone) {
  const Values parts = {1, 5, 2, 8, 3, 9, 4}, weights = {2, 6, 3, 9, 9, 12, 4};
  const Estimate one = RatioEstimate(parts, weights, 1);
  ExpectEqual(RatioEstimate(parts, weights, 1), one);
  bool differs = false;
  for (uint64_t seed = 2; seed < 12; ++seed) {
    const Estimate other = RatioEstimate(parts, weights, seed);
    EXPECT_EQ(other.mean, one.mean);
    EXPECT_LE(other.low, other.mean);
    EXPECT_GE(other.high, other.mean);
    differs |= other.low != one.low || other.high != one.high;
  }
  EXPECT_TRUE(differs);
}

Outcome Of(double flops, int64_t tokens, int64_t agreed, double kl, double score, double loss) {
  Outcome o;
  o.flops = flops;
  o.prefill_seconds = flops / 100;
  o.answer_tokens = tokens;
  o.agreed = agreed;
  o.kl = kl;
  o.score = score;
  o.loss = loss;
  return o;
}

Case CaseOf(const std::string& family, int64_t tokens, bool has_answers, double dense_score,
            const Outcome& other) {
  Case c;
  c.family = family;
  c.tokens = tokens;
  c.has_answers = has_answers;
  c.outcomes = {Of(400, other.answer_tokens, other.answer_tokens, 0, dense_score, 1), other};
  return c;
}

TEST(SummarizeTest, OneForEveryFamilyLengthAndReading) {
  const Outcome other = Of(200, 8, 4, 2, 1, 1.5);
  const std::vector<Summary> s = Summarize(
      std::vector<Case>{CaseOf("b", 1000, true, 1, other), CaseOf("a", 1000, true, 1, other),
                        CaseOf("b", 2000, true, 1, other), CaseOf("b", 1000, true, 1, other)},
      1);
  ASSERT_EQ(s.size(), 6u);
  const auto expect = [&](size_t at, const char* family, int64_t tokens, int64_t cases) {
    for (size_t reading = 0; reading < 2; ++reading) {
      EXPECT_EQ(s[at + reading].family, family);
      EXPECT_EQ(s[at + reading].tokens, tokens);
      EXPECT_EQ(s[at + reading].reading, reading);
      EXPECT_EQ(s[at + reading].cases, cases);
    }
  };
  expect(0, "b", 1000, 2);
  expect(2, "a", 1000, 1);
  expect(4, "b", 2000, 1);
  EXPECT_TRUE(Summarize({}, 1).empty());
}

TEST(SummarizeTest, TokensWeighDivergencesAndCasesWeighScores) {
  const std::vector<Summary> s =
      Summarize(std::vector<Case>{CaseOf("a", 1000, true, 1, Of(100, 2, 1, 3, 0.5, 1.5)),
                                  CaseOf("a", 1000, true, 1, Of(300, 8, 8, 1, 1, 2.5))},
                1);
  ASSERT_EQ(s.size(), 2u);
  EXPECT_DOUBLE_EQ(s[1].kl.mean, 4.0 / 10);
  EXPECT_DOUBLE_EQ(s[1].agreement.mean, 9.0 / 10);
  EXPECT_DOUBLE_EQ(s[1].score.mean, 0.75);
  EXPECT_DOUBLE_EQ(s[1].loss.mean, 2);
  EXPECT_DOUBLE_EQ(s[1].flop_bound, 800.0 / 400);
  EXPECT_DOUBLE_EQ(s[1].prefill_seconds, 2);
  EXPECT_EQ(s[0].kl.mean, 0);
  EXPECT_EQ(s[0].agreement.mean, 1);
  EXPECT_EQ(s[0].flop_bound, 1);
}

TEST(SummarizeTest, OnlyWhatDenseAnswersInFullIsAsked) {
  const auto reading = [](double score) { return Of(200, 4, 4, 0, score, 0); };
  const std::vector<Summary> s =
      Summarize(std::vector<Case>{CaseOf("a", 1000, true, 1, reading(1)),    // asked and found
                                  CaseOf("a", 1000, true, 1, reading(0.5)),  // asked
                                  CaseOf("a", 1000, true, 0.5, reading(1)),  // dense fails
                                  CaseOf("a", 1000, false, 1, reading(1)),   // nothing to find
                                  CaseOf("a", 1000, true, 1, reading(1)),    // asked and found
                                  CaseOf("none", 1000, false, 1, reading(1))},
                1);
  ASSERT_EQ(s.size(), 4u);
  EXPECT_EQ(s[0].asked, 3);
  EXPECT_EQ(s[0].found, 3);
  EXPECT_EQ(s[1].asked, 3);
  EXPECT_EQ(s[1].found, 2);
  EXPECT_DOUBLE_EQ(s[0].score.mean, 3.5 / 4);
  EXPECT_DOUBLE_EQ(s[1].score.mean, 3.5 / 4) << "the mean of 1, 0.5, 1 and 1";
  EXPECT_TRUE(s[1].has_answers);
  EXPECT_FALSE(s[3].has_answers);
  EXPECT_EQ(s[3].score.mean, 0);
  EXPECT_EQ(s[3].asked, 0);
  EXPECT_EQ(s[3].found, 0);
}

}  // namespace
}  // namespace skipserve
