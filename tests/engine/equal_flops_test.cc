// Baselines at equal FLOPs, against a search one token at a time.
#include "engine/quality/equal_flops.h"

#include <gtest/gtest.h>

#include "engine/skip/ready_settings.h"
#include "tests/support/small_config.h"

namespace skipserve {
namespace {

constexpr ProxyShape kProxy{8, 3};

SkipPolicy Some() {
  SkipPolicy policy = LayeredPolicy(5, 10, 0.5, 0.1);
  policy.window = 16;
  policy.ffn_score = FfnScore::kProduct;
  return policy;
}

double Dense(int64_t tokens) {
  return PrefillFlops(DensePlan(testing::SmallConfig(), tokens), SkipPolicy(),
                      testing::SmallConfig(), {});
}

TEST(EqualFlopsTest, APrefillCostsWhatItsLayersCost) {
  const SkipPlan plan = MakePlan(Some(), testing::SmallConfig(), 300);
  double sum = 0;
  for (int32_t i = 0; i < 10; ++i)
    sum += PlanFlops(plan, i, Some(), testing::SmallConfig(), kProxy).total();
  EXPECT_DOUBLE_EQ(PrefillFlops(plan, Some(), testing::SmallConfig(), kProxy), sum);
  EXPECT_LT(sum, Dense(300));
}

TEST(EqualFlopsTest, TheLongestDensePromptThatCostsNoMore) {
  for (const double flops : {0.0, 1.0, Dense(1), Dense(2) - 1, Dense(2), Dense(57) + 1, Dense(90),
                             Dense(100), Dense(101), 1e30}) {
    int64_t longest = 1;
    for (int64_t tokens = 1; tokens <= 100; ++tokens) {
      if (Dense(tokens) <= flops) longest = tokens;
    }
    EXPECT_EQ(DenseTokensFor(flops, 100, testing::SmallConfig()), longest) << flops;
  }
  EXPECT_EQ(DenseTokensFor(1e30, 1, testing::SmallConfig()), 1);
}

// By the header's words: dense before `start`, the best there, and all of those from there on.
SkipPolicy Once(const SkipPolicy& like, int32_t start, int64_t kept) {
  SkipPolicy policy = like;
  policy.start = start;
  policy.stage_ends = {start};
  policy.budgets = policy.keeps = {double(kept)};
  policy.probe_layers = {};
  return policy;
}

double Flops(const SkipPolicy& once, int64_t tokens) {
  return PrefillFlops(MakePlan(once, testing::SmallConfig(), tokens), once, testing::SmallConfig(),
                      kProxy);
}

TEST(EqualFlopsTest, PrunesOnceAsLittleAsTheSameFlopsAllow) {
  constexpr int64_t kTokens = 300;
  SkipPolicy probing = Some();
  probing.probe_layers = {5, 7};
  probing.memory = 0.5;
  for (const SkipPolicy& policy : {Some(), probing}) {
    const double own = Flops(policy, kTokens);
    for (const int32_t start : {5, 2, 8}) {
      for (const double flops : {0.0, own, 1.3 * own, 1e30}) {
        const SkipPolicy once =
            PruneOnceFor(flops, policy, start, kTokens, testing::SmallConfig(), kProxy);
        ASSERT_TRUE(ValidatePolicy(once, 10).ok()) << ValidatePolicy(once, 10);
        int64_t most = 1;
        for (int64_t kept = 1; kept <= kTokens; ++kept) {
          if (Flops(Once(policy, start, kept), kTokens) <= flops) most = kept;
        }
        EXPECT_EQ(once.keeps, std::vector<double>({double(most)})) << start << " " << flops;
        EXPECT_EQ(Flops(once, kTokens), Flops(Once(policy, start, most), kTokens));
        const SkipPlan plan = MakePlan(once, testing::SmallConfig(), kTokens);
        for (int32_t i = 0; i < 10; ++i) {
          const LayerPlan& layer = plan.layers[i];
          EXPECT_EQ(layer.active, i < start ? kTokens : most);
          EXPECT_EQ(layer.candidates, i <= start ? kTokens : most);
          EXPECT_EQ(layer.probes, i == start && most < kTokens);
        }
      }
    }
  }
}

}  // namespace
}  // namespace skipserve
