// What a policy means for a prompt: how many rows each layer computes, which layers probe, and what
// that costs.
#include <gtest/gtest.h>

#include "engine/skip/plan.h"
#include "engine/skip/ready_settings.h"
#include "tests/support/small_config.h"

namespace skipserve {
namespace {

constexpr int64_t kPrompt = 400;

// From layer 5; the last stage ends at 8, and layer 9 computes all that is left.
SkipPolicy TwoStages() {
  SkipPolicy policy;
  policy.start = 5;
  policy.stage_ends = {6, 8};
  policy.budgets = policy.keeps = {0.5, 0.25};
  policy.window = 4;
  policy.ffn_score = FfnScore::kAttention;
  return policy;
}

// Layers 5 and 6 compute everything, 7 and 8 skip.
SkipPolicy LateSkips() {
  SkipPolicy policy = TwoStages();
  policy.budgets = {1000, 100};
  policy.keeps = {1000, 100};
  return policy;
}

std::vector<int32_t> Probing(const SkipPolicy& policy) {
  const SkipPlan plan = MakePlan(policy, testing::SmallConfig(), kPrompt);
  std::vector<int32_t> layers;
  for (int32_t i = 0; i < 10; ++i) {
    if (plan.layers[i].probes) layers.push_back(i);
  }
  return layers;
}

using Layers = std::vector<int32_t>;

TEST(MakePlanTest, WithoutProbeLayersEveryLayerThatSkipsProbes) {
  for (const double memory : {0.0, 0.5}) {
    for (SkipPolicy policy : {TwoStages(), LateSkips(), LayeredPolicy(5, 10, 0.5, 0.1)}) {
      policy.memory = memory;
      const SkipPlan plan = MakePlan(policy, testing::SmallConfig(), kPrompt);
      for (const LayerPlan& layer : plan.layers) EXPECT_EQ(layer.probes, layer.skips());
    }
  }
  EXPECT_EQ(Probing(TwoStages()), Layers({5, 6, 7, 8}));
  EXPECT_EQ(Probing(LateSkips()), Layers({7, 8}));
}

TEST(MakePlanTest, OnlyProbeLayersProbe) {
  SkipPolicy policy = LayeredPolicy(5, 10, 0.5, 0.1);
  for (const Layers& layers : {Layers{5}, Layers{5, 7}, Layers{5, 6, 7, 8, 9}, Layers{5, 9}}) {
    policy.probe_layers = layers;
    for (const double memory : {0.0, 0.5}) {
      policy.memory = memory;
      EXPECT_EQ(Probing(policy), layers);
    }
  }
}

TEST(MakePlanTest, NoLayerProbesForNobody) {
  SkipPolicy policy = TwoStages();
  policy.probe_layers = {5, 8, 9};
  EXPECT_EQ(Probing(policy), Layers({5, 8})) << "no layer skips behind 8";
  policy.probe_layers = {5, 9};
  policy.memory = 1;
  EXPECT_EQ(Probing(policy), Layers({5}));
  policy.budgets = policy.keeps = {1000, 1000};
  EXPECT_EQ(Probing(policy), Layers()) << "nothing is skipped";
  EXPECT_TRUE(MakePlan(policy, testing::SmallConfig(), kPrompt).dense());
}

TEST(MakePlanTest, ALayerThatSkipsNothingMayProbeForThoseBehindIt) {
  SkipPolicy policy = LateSkips();
  policy.probe_layers = {5};
  EXPECT_EQ(Probing(policy), Layers({5}));
  policy.probe_layers = {5, 6};
  EXPECT_EQ(Probing(policy), Layers({6})) << "6 replaces what 5 would find";
  policy.memory = 0.1;
  EXPECT_EQ(Probing(policy), Layers({5, 6})) << "unless it is remembered";
  policy.probe_layers = {5, 7};
  EXPECT_EQ(Probing(policy), Layers({5, 7}));
  policy.memory = 0;
  EXPECT_EQ(Probing(policy), Layers({7}));
}

TEST(MakePlanTest, ProbesChangeNoCount) {
  const SkipPolicy all = TwoStages();
  SkipPolicy once = all;
  once.probe_layers = {5};
  once.memory = 0.5;
  const SkipPlan a = MakePlan(all, testing::SmallConfig(), kPrompt),
                 b = MakePlan(once, testing::SmallConfig(), kPrompt);
  EXPECT_EQ(a.trunk_layers, b.trunk_layers);
  for (size_t i = 0; i < a.layers.size(); ++i) {
    EXPECT_EQ(a.layers[i].candidates, b.layers[i].candidates);
    EXPECT_EQ(a.layers[i].active, b.layers[i].active);
    EXPECT_EQ(a.layers[i].keep, b.layers[i].keep);
  }
}

TEST(PlanFlopsTest, ALayerThatDoesNotProbeProjectsKOfItsActiveRowsAlone) {
  SkipPolicy policy = TwoStages();
  policy.probe_layers = {5};
  const SkipPlan plan = MakePlan(policy, testing::SmallConfig(), kPrompt);
  const double width = 64, q = 64, kv = 32, ffn = 128, t = 400, m = 200, window = 4;
  const double rest = 2 * m * width * (q + kv) + 2 * m * width * q + 2 * q * m * (m + 1);
  ASSERT_EQ(plan.layers[5].active, m);
  ASSERT_EQ(plan.layers[6].candidates, t);
  const LayerFlops probing = PlanFlops(plan, 5, policy, testing::SmallConfig(), {}),
                   following = PlanFlops(plan, 6, policy, testing::SmallConfig(), {});
  EXPECT_EQ(probing.attention, 2 * t * width * kv + rest);
  EXPECT_EQ(following.attention, 2 * m * width * kv + rest);
  EXPECT_EQ(probing.probes, 2 * window * width * (q + kv) + 2 * window * t * q);
  EXPECT_EQ(following.probes, 0);
  EXPECT_EQ(probing.ffn, 6 * m * width * ffn);
  EXPECT_EQ(following.ffn, probing.ffn);
}

TEST(PlanFlopsTest, TheFfnsScoreCostsTheSameWhoeverProbes) {
  for (const FfnScore score : {FfnScore::kExact, FfnScore::kProduct}) {
    SkipPolicy policy = TwoStages();
    policy.ffn_score = score;
    policy.probe_layers = {5};
    const SkipPlan plan = MakePlan(policy, testing::SmallConfig(), kPrompt);
    const double d_low = 8, rank = 3;
    const double each = score == FfnScore::kExact
                            ? 6.0 * 64 * 128
                            : 4 * 64 * rank + 4 * rank * d_low + 2 * d_low * d_low;
    EXPECT_EQ(PlanFlops(plan, 6, policy, testing::SmallConfig(), {8, 3}).probes, 400 * each);
  }
}

TEST(PlanFlopsTest, AProbeOfAllRowsAddsItsScoresOnly) {
  SkipPolicy policy = LateSkips();
  policy.probe_layers = {5};
  const SkipPlan plan = MakePlan(policy, testing::SmallConfig(), kPrompt);
  ASSERT_FALSE(plan.layers[5].skips());
  const LayerFlops probing = PlanFlops(plan, 5, policy, testing::SmallConfig(), {}),
                   plain = PlanFlops(plan, 6, policy, testing::SmallConfig(), {});
  EXPECT_EQ(probing.attention, plain.attention);
  EXPECT_EQ(probing.ffn, plain.ffn);
  EXPECT_EQ(probing.probes, 2.0 * 4 * 64 * (64 + 32) + 2.0 * 4 * 400 * 64);
  EXPECT_EQ(plain.probes, 0);
}

TEST(MakePlanTest, PublishedKvFigure) {
  // The Llama settings at 32K: 10*32 + 4*9 + 5*7 + 5*4 + 5*2 + 3*1 = 424 of 1024 K token-layers.
  ModelConfig config;
  config.layers = 32;
  SkipPolicy policy;
  policy.start = 10;
  policy.stage_ends = {13, 18, 23, 28};
  const double k = 1024;
  policy.budgets = {9 * k, 7 * k, 4 * k, 2 * k};
  policy.keeps = {8 * k, 6 * k, 3 * k, 1 * k};
  const SkipPlan plan = MakePlan(policy, config, 32 * 1024);
  int64_t cached = 0;
  for (const LayerPlan& layer : plan.layers) cached += layer.active;
  EXPECT_EQ(cached, 424 * 1024);
  EXPECT_EQ(plan.trunk_layers, 10);
  EXPECT_EQ(plan.layers[14].candidates, 8 * 1024);
}

}  // namespace
}  // namespace skipserve
