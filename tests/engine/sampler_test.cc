// The sampler against brute force: full sorts, exact probabilities, penalties by hand.
#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace skipserve {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> RandomLogits(size_t vocab, uint32_t seed, float spread = 3.0f) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> logits(vocab);
  for (float& x : logits) x = normal(rng);
  return logits;
}

SamplingParams Greedy() {
  SamplingParams p;
  p.temperature = 0;
  return p;
}

int32_t DrawToken(const std::vector<float>& logits, const SamplingParams& params,
                  uint64_t position = 0, const TokenCounts& counts = {},
                  const std::vector<int32_t>& banned = {}) {
  const auto result = Sampler().Draw(logits, params, counts, banned, position, -1);
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? result->token : -1;
}

// The distribution a draw must follow, by sorting everything.
std::map<int32_t, double> Exact(const std::vector<float>& logits, const SamplingParams& params) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  if (params.top_k > 0) order.resize(std::min<size_t>(order.size(), params.top_k));
  std::vector<double> weights;
  for (const int32_t id : order) {
    weights.push_back(std::exp((double(logits[id]) - logits[order[0]]) / params.temperature));
  }
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  size_t nucleus = 0;
  for (double sum = 0; nucleus < order.size() && (nucleus == 0 || sum < params.top_p * total);) {
    sum += weights[nucleus++];
  }
  std::map<int32_t, double> out;
  for (size_t i = 0; i < nucleus; ++i) {
    if (weights[i] >= params.min_p) out[order[i]] = weights[i];
  }
  double kept = 0;
  for (const auto& [id, w] : out) kept += w;
  for (auto& [id, w] : out) w /= kept;
  return out;
}

// Draws at many positions: every token of the exact set's, none other, and chi-square against the
// exact probabilities below its 99.99 % quantile (Wilson-Hilferty).
void ExpectFollows(const std::vector<float>& logits, const SamplingParams& params) {
  const std::map<int32_t, double> exact = Exact(logits, params);
  constexpr int kDraws = 20000;
  std::map<int32_t, int> seen;
  for (int i = 0; i < kDraws; ++i) ++seen[DrawToken(logits, params, i)];
  for (const auto& [id, n] : seen) ASSERT_TRUE(exact.count(id)) << id << " should be filtered out";
  double chi_square = 0, rest_expected = 0, rest_seen = 0;
  int cells = 0;
  for (const auto& [id, p] : exact) {
    const double expected = p * kDraws, count = seen.count(id) ? seen[id] : 0;
    if (expected < 5) {
      rest_expected += expected;
      rest_seen += count;
    } else {
      chi_square += (count - expected) * (count - expected) / expected;
      ++cells;
    }
  }
  if (rest_expected >= 5) {
    chi_square += (rest_seen - rest_expected) * (rest_seen - rest_expected) / rest_expected;
    ++cells;
  }
  const double df = cells - 1;
  if (df < 1) return;
  const double quantile = df * std::pow(1 - 2 / (9 * df) + 3.72 * std::sqrt(2 / (9 * df)), 3);
  EXPECT_LT(chi_square, quantile) << "df " << df;
}

TEST(SamplerTest, DrawsFollowTheSoftmax) {
  for (const float temperature : {0.5f, 1.0f, 2.0f}) {
    SamplingParams params;
    params.temperature = temperature;
    params.seed = 7;
    ExpectFollows(RandomLogits(40, 1, 1.5f), params);
  }
}

TEST(SamplerTest, FiltersKeepExactlyTheRightSetAndItsProportions) {
  const std::vector<float> logits = RandomLogits(200, 2, 1.5f);
  struct Case {
    int32_t top_k;
    float top_p, min_p;
  };
  for (const Case& c : {Case{5, 1, 0}, Case{0, 0.6f, 0}, Case{0, 1, 0.2f}, Case{20, 0.7f, 0},
                        Case{20, 0.9f, 0.3f}, Case{200, 0.95f, 0}, Case{1, 1, 0}, Case{0, 0, 0},
                        Case{0, 0.999f, 0}, Case{0, 1, 1}, Case{1000, 1, 0}}) {
    SCOPED_TRACE(testing::Message() << c.top_k << " " << c.top_p << " " << c.min_p);
    SamplingParams params;
    params.top_k = c.top_k;
    params.top_p = c.top_p;
    params.min_p = c.min_p;
    params.temperature = 1.3f;
    ExpectFollows(logits, params);
  }
}

// A small set is hit completely by enough draws, so the tokens seen are the filter's set.
TEST(SamplerTest, FiltersAgreeWithASortOnALargeVocabulary) {
  const std::vector<float> logits = RandomLogits(50000, 3);
  for (const int32_t top_k : {3, 17}) {
    SamplingParams params;
    params.top_k = top_k;
    params.temperature = 10;
    const auto exact = Exact(logits, params);
    std::set<int32_t> seen;
    for (int i = 0; i < 400; ++i) seen.insert(DrawToken(logits, params, i));
    std::set<int32_t> ids;
    for (const auto& [id, p] : exact) ids.insert(id);
    EXPECT_EQ(seen, ids);
  }
  const std::vector<float> flatter = RandomLogits(50000, 3, 1.5f);
  SamplingParams params;
  params.top_p = 0.01f;
  const auto exact = Exact(flatter, params);
  ASSERT_GT(exact.size(), 2u);
  std::map<int32_t, int> seen;
  for (int i = 0; i < 600; ++i) ++seen[DrawToken(flatter, params, i)];
  for (const auto& [id, n] : seen) EXPECT_TRUE(exact.count(id)) << id;
  EXPECT_GE(seen.size(), exact.size() - 1);
}

TEST(SamplerTest, TopKAndTopPBreakTiesByTheLowerId) {
  std::vector<float> logits(100, 1.0f);
  SamplingParams params;
  params.top_k = 3;
  std::set<int32_t> seen;
  for (int i = 0; i < 300; ++i) seen.insert(DrawToken(logits, params, i));
  EXPECT_EQ(seen, (std::set<int32_t>{0, 1, 2}));
  params.top_k = 0;
  params.top_p = 0.035f;
  seen.clear();
  for (int i = 0; i < 300; ++i) seen.insert(DrawToken(logits, params, i));
  EXPECT_EQ(seen, (std::set<int32_t>{0, 1, 2, 3}));
}

TEST(SamplerTest, FiltersOrderByLogitWhereWeightsAreEqual) {
  // At this temperature all weights round to one; the best two are still the best two.
  const std::vector<float> logits = {1, 2, 4, 3};
  SamplingParams params;
  params.temperature = 1e9f;
  params.top_k = 2;
  std::set<int32_t> seen;
  for (int i = 0; i < 100; ++i) seen.insert(DrawToken(logits, params, i));
  EXPECT_EQ(seen, (std::set<int32_t>{2, 3}));
}

TEST(SamplerTest, GreedyTakesTheBestAndTheLowerOfTwo) {
  EXPECT_EQ(DrawToken({0, 3, 1, 3}, Greedy()), 1);
  EXPECT_EQ(DrawToken({-5}, Greedy()), 0);
  EXPECT_EQ(DrawToken({kNan, -kInf, -1e30f}, Greedy()), 2);
}

TEST(SamplerTest, LogitBiasComesFirst) {
  SamplingParams params = Greedy();
  params.logit_bias = {{0, 5.0f}, {7, 100.0f}, {-1, 100.0f}};
  EXPECT_EQ(DrawToken({1, 3, 2}, params), 0) << "ids outside the vocabulary are ignored";
  params.logit_bias = {{1, -100.0f}};
  EXPECT_EQ(DrawToken({1, 3, 2}, params), 2);
  params.logit_bias = {{1, kNan}};
  EXPECT_EQ(DrawToken({1, 3, 2}, params), 2);
  // The repetition penalty sees the biased logit: (1 + 5) / 3 = 2 is below 3.
  params.logit_bias = {{0, 5.0f}};
  params.repetition_penalty = 3;
  TokenCounts counts;
  counts.AddPrompt({0});
  EXPECT_EQ(DrawToken({1, 3, 2}, params, 0, counts), 1);
}

// A token's weight against an untouched one, measured from draws: ln(ratio) must be the difference
// of the adjusted logits.
double MeasuredGap(const std::vector<float>& logits, const SamplingParams& params,
                   const TokenCounts& counts) {
  int first = 0;
  constexpr int kDraws = 40000;
  for (int i = 0; i < kDraws; ++i) first += DrawToken(logits, params, i, counts) == 0;
  return std::log(double(first) / (kDraws - first));
}

TEST(SamplerTest, PenaltiesByHand) {
  TokenCounts counts;
  counts.AddPrompt({0, 0, 0, 0, 0});
  SamplingParams params;
  params.presence_penalty = 0.5f;
  params.frequency_penalty = 0.25f;
  EXPECT_NEAR(MeasuredGap({1, 0}, params, counts), 1.0, 0.05) << "the prompt does not count";
  counts.AddAnswer(0);
  counts.AddAnswer(0);
  EXPECT_NEAR(MeasuredGap({1, 0}, params, counts), 1.0 - 0.5 - 2 * 0.25, 0.05);
  params.presence_penalty = params.frequency_penalty = 0;
  params.repetition_penalty = 2;
  EXPECT_NEAR(MeasuredGap({1, 0}, params, counts), 0.5, 0.05);
  EXPECT_NEAR(MeasuredGap({-0.5f, 0}, params, counts), -1.0, 0.05);
  params.frequency_penalty = 0.25f;
  EXPECT_NEAR(MeasuredGap({1, 0}, params, counts), 0.5 - 2 * 0.25, 0.05) << "after repetition";
  TokenCounts outside;
  outside.AddPrompt({-3, 2, 1 << 30});
  EXPECT_NEAR(MeasuredGap({1, 0}, params, outside), 1.0, 0.05);
}

TEST(SamplerTest, BannedTokensNeverComeOut) {
  EXPECT_EQ(DrawToken({5, 9, 7}, Greedy(), 0, {}, {1, 99, -4}), 2);
  SamplingParams params;
  params.logit_bias = {{1, 1000.0f}};
  for (int i = 0; i < 200; ++i) EXPECT_NE(DrawToken({5, 9, 7}, params, i, {}, {1}), 1);
}

TEST(SamplerTest, ADrawDependsOnSeedChoiceAndPositionOnly) {
  const std::vector<float> logits = RandomLogits(1000, 4, 0.5f);
  SamplingParams params;
  params.seed = 42;
  std::vector<int32_t> alone;
  for (int i = 0; i < 50; ++i) alone.push_back(DrawToken(logits, params, i));
  // In another order, on several threads, with other draws between them.
  std::vector<int32_t> shared(alone.size());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 49 - t; i >= 0; i -= 4) {
        SamplingParams other = params;
        other.seed = t;
        DrawToken(logits, other, i);
        shared[i] = DrawToken(logits, params, i);
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(shared, alone);
  const auto differs = [&](const SamplingParams& other, uint64_t shift) {
    int equal = 0;
    for (int i = 0; i < 50; ++i) equal += DrawToken(logits, other, i + shift) == alone[i];
    return equal < 10;
  };
  SamplingParams seed = params, choice = params;
  seed.seed += uint64_t{1} << 40;
  choice.choice = 1;
  EXPECT_TRUE(differs(seed, 0));
  EXPECT_TRUE(differs(choice, 0));
  EXPECT_TRUE(differs(params, uint64_t{1} << 33));
}

TEST(SamplerTest, PhiloxMatchesThePublishedTestVectors) {
  // Random123's known answers for philox4x32-10: the first two words, as a 53-bit fraction.
  const auto fraction = [](uint32_t c0, uint32_t c1) {
    return static_cast<double>((uint64_t{c0} << 32 | c1) >> 11) * 0x1.0p-53;
  };
  EXPECT_EQ(UniformDraw(0, 0, 0), fraction(0x6627e8d5, 0xe169c58d));
}

TEST(SamplerTest, LogprobsAreOfTheRawLogits) {
  const std::vector<float> logits = {0.5f, 2.0f, -1.0f, 2.0f, kNan, -kInf};
  SamplingParams params = Greedy();
  params.logit_bias = {{2, 50.0f}};
  params.temperature = 0.3f;
  const auto result = Sampler().Draw(logits, params, {}, {}, 0, 3);
  ASSERT_TRUE(result.ok());
  const double sum = std::exp(0.5) + 2 * std::exp(2.0) + std::exp(-1.0);
  EXPECT_EQ(result->token, 2);
  EXPECT_NEAR(result->logprob, -1.0 - std::log(sum), 1e-5);
  ASSERT_EQ(result->top.size(), 3u);
  EXPECT_EQ(result->top[0].id, 1);
  EXPECT_EQ(result->top[1].id, 3);
  EXPECT_EQ(result->top[2].id, 0);
  EXPECT_NEAR(result->top[0].logprob, 2.0 - std::log(sum), 1e-5);
  EXPECT_NEAR(result->top[2].logprob, 0.5 - std::log(sum), 1e-5);

  const auto all = Sampler().Draw(logits, params, {}, {}, 0, 20);
  EXPECT_EQ(all->top.size(), 4u) << "tokens without a probability are not listed";
  EXPECT_TRUE(Sampler().Draw(logits, params, {}, {}, 0, 0)->top.empty());
  const auto far = Sampler().Draw(std::vector<float>{0.0f, -1e30f}, Greedy(), {}, {}, 0, 2);
  EXPECT_EQ(far->top[1].logprob, Sampler::kNoProbability) << "JSON has no infinity";
}

TEST(SamplerTest, TopLogprobsAgreeWithASort) {
  const std::vector<float> logits = RandomLogits(30000, 5);
  const auto result = Sampler().Draw(logits, Greedy(), {}, {}, 0, 20);
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  for (int i = 0; i < 20; ++i) EXPECT_EQ(result->top[i].id, order[i]);
  EXPECT_EQ(result->token, order[0]);
}

TEST(SamplerTest, DegenerateInputsAreErrorsOrTokensButNeverCrash) {
  for (const std::vector<float>& logits :
       {std::vector<float>{}, {kNan, kNan}, {-kInf, kNan, -kInf}}) {
    for (const float temperature : {0.0f, 1.0f}) {
      SamplingParams params;
      params.temperature = temperature;
      const auto result = Sampler().Draw(logits, params, {}, {}, 3, 2);
      EXPECT_EQ(result.status().code(), absl::StatusCode::kInternal);
    }
  }
  EXPECT_EQ(Sampler().Draw(std::vector<float>{1, 2}, {}, {}, {{0, 1}}, 0, -1).status().code(),
            absl::StatusCode::kInternal);
  const std::vector<float> odd = {kInf, 1, kNan, kInf, -kInf};
  for (const float t : {0.0f, 1e-38f, 1e-45f, 1.0f, 1e38f, kInf, kNan, -1.0f}) {
    for (const float p : {0.0f, 0.5f, 1.0f, kNan, -1.0f, 2.0f}) {
      SamplingParams params;
      params.temperature = t;
      params.top_p = p;
      params.min_p = p;
      params.top_k = 4;
      params.repetition_penalty = p;
      TokenCounts counts;
      counts.AddPrompt({0, 2, 4});
      const auto result = Sampler().Draw(odd, params, counts, {}, 1, 5);
      ASSERT_TRUE(result.ok()) << t << " " << p << " " << result.status();
      EXPECT_THAT(result->token, testing::AnyOf(0, 1, 3)) << t << " " << p;
      EXPECT_TRUE(std::isfinite(result->logprob));
    }
  }
}

}  // namespace
}  // namespace skipserve
