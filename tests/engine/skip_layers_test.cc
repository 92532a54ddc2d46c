// The skipping phase: equal to the method's reference run (golden row sets and log-probabilities), equal to itself
// however it is sliced, and equal to an engine without it where nothing is skipped.
#include <gtest/gtest.h>

#include <numeric>

#include "engine/skip/ready_settings.h"
#include "tests/support/run_model.h"

namespace skipserve::testing {
namespace {

const std::string kTiny = std::string(SKIPSERVE_SOURCE_DIR) + "/tests/golden/tiny/tiny.gguf";

std::vector<int32_t> SomePrompt(int length, int seed = 1) {
  std::vector<int32_t> ids(length);
  uint32_t state = seed;
  for (int32_t& id : ids) id = static_cast<int32_t>((state = state * 1664525u + 1013904223u) >> 8) % 300 + 3;
  return ids;
}

std::unique_ptr<ModelRunner> Open(RunOptions options = {}, bool cpu = false) {
  return ModelRunner::Open(kTiny, cpu ? MakeCpuOps(2) : MakeReferenceOps(), options);
}

SkipPolicy Layered(double first, double last, FfnScore score) {
  SkipPolicy policy = LayeredPolicy(2, 6, first, last);
  policy.window = 4;
  policy.pool = 3;
  policy.recent = 4;
  policy.ffn_score = score;
  return policy;
}

TEST(SkippingLayers, SlicesAndChunksChangeNothing) {
  const std::vector<int32_t> prompt = SomePrompt(200), next = SomePrompt(5, 4);
  const SkipPolicy policy = Layered(0.5, 0.1, FfnScore::kExact);
  const RunResult whole = Open()->Run(prompt, &policy, next);
  for (int32_t slice : {1, 3}) {
    for (int64_t rows : {16, 64}) {
      RunOptions options;
      options.slice_layers = slice;
      options.max_rows = rows;
      const RunResult run = Open(options)->Run(prompt, &policy, next);
      EXPECT_EQ(run.logits, whole.logits) << slice << " " << rows;
      for (size_t i = 0; i < run.rows.size(); ++i) {
        EXPECT_EQ(run.rows[i].attention, whole.rows[i].attention);
        EXPECT_EQ(run.rows[i].ffn, whole.rows[i].ffn);
      }
    }
  }
}

// Budgets that everything fits into: the skipping phase computes every row and must equal the dense run.
TEST(SkippingLayers, NothingSkippedEqualsDense) {
  const std::vector<int32_t> prompt = SomePrompt(120), next = SomePrompt(5, 4);
  SkipPolicy policy = Layered(0.5, 0.1, FfnScore::kAttention);
  policy.budgets.assign(policy.budgets.size(), 119);
  policy.keeps = policy.budgets;
  const auto runner = Open();
  RunResult dense = runner->Run(prompt, nullptr, next);
  // One token short of all: the phase runs, so only now is the plan not dense.
  ASSERT_FALSE(MakePlan(policy, runner->file().config(), 120).dense());
  ASSERT_NE(runner->Run(prompt, &policy, next).logits, dense.logits);
  policy.budgets.assign(policy.budgets.size(), 120);
  policy.keeps = policy.budgets;
  ASSERT_TRUE(MakePlan(policy, runner->file().config(), 120).dense());
  EXPECT_EQ(runner->Run(prompt, &policy, next).logits, dense.logits);
}

TEST(SkippingLayers, ADenseRunAfterASkippingOneIsUntouched) {
  const std::vector<int32_t> prompt = SomePrompt(150), next = SomePrompt(3, 4);
  const SkipPolicy policy = Layered(0.4, 0.1, FfnScore::kExact);
  const auto runner = Open();
  const RunResult before = runner->Run(prompt, nullptr, next);
  runner->Run(prompt, &policy, next);
  EXPECT_EQ(runner->Run(prompt, nullptr, next).logits, before.logits);
}

TEST(SkippingLayers, RowsFollowThePlan) {
  const std::vector<int32_t> prompt = SomePrompt(200);
  const SkipPolicy policy = Layered(0.5, 0.1, FfnScore::kExact);
  const auto runner = Open();
  const RunResult run = runner->Run(prompt, &policy, {});
  const SkipPlan plan = MakePlan(policy, runner->file().config(), 200);
  ASSERT_EQ(run.rows.size(), plan.layers.size());
  for (size_t i = 0; i < plan.layers.size(); ++i) {
    for (const std::vector<int32_t>* rows : {&run.rows[i].attention, &run.rows[i].ffn}) {
      ASSERT_EQ(static_cast<int64_t>(rows->size()), plan.layers[i].active) << "layer " << i;
      EXPECT_TRUE(std::is_sorted(rows->begin(), rows->end()));
      EXPECT_EQ(std::adjacent_find(rows->begin(), rows->end()), rows->end());
      for (int32_t position : {0, 1, 2, 3, 196, 197, 198, 199}) {
        EXPECT_TRUE(std::binary_search(rows->begin(), rows->end(), position)) << "layer " << i << " " << position;
      }
    }
  }
}

TEST(SkippingLayers, CpuFollowsTheReference) {
  const std::vector<int32_t> prompt = SomePrompt(300), next = SomePrompt(3, 4);
  const SkipPolicy policy = Layered(0.5, 0.1, FfnScore::kExact);
  const RunResult expected = Open()->Run(prompt, &policy, next), actual = Open({}, true)->Run(prompt, &policy, next);
  int64_t rows = 0, same = 0;
  for (size_t i = 0; i < expected.rows.size(); ++i) {
    std::vector<int32_t> common;
    std::set_intersection(expected.rows[i].ffn.begin(), expected.rows[i].ffn.end(), actual.rows[i].ffn.begin(),
                          actual.rows[i].ffn.end(), std::back_inserter(common));
    rows += static_cast<int64_t>(expected.rows[i].ffn.size());
    same += static_cast<int64_t>(common.size());
  }
  // Scores that differ by rounding may swap two rows at the border of a set.
  EXPECT_GE(same, rows * 0.99);
}

TEST(MakePlan, PublishedKvFigure) {
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
}  // namespace skipserve::testing
