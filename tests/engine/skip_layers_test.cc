// The skipping phase: equal to the method's reference run (golden row sets and log-probabilities),
// equal to itself however it is sliced, and equal to an engine without it where nothing is skipped.
#include <gtest/gtest.h>

#include <algorithm>

#include "engine/skip/ready_settings.h"
#include "tests/support/run_model.h"

namespace skipserve::testing {
namespace {

const std::string kTiny = std::string(SKIPSERVE_SOURCE_DIR) + "/tests/golden/tiny/tiny.gguf";

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
  for (int64_t slice : {1, 7, 100, 333}) {
    for (int64_t rows : {16, 64}) {
      RunOptions options;
      options.slice_rows = slice;
      options.trunk_layers = 1 + static_cast<int32_t>(slice % 2);
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

// The skipping phase with every row active must equal the decoder without it: once without probes,
// as in a layer whose budget holds all candidates, and once with scores, selection and gathers that
// then choose everything.
TEST(SkippingLayers, NothingSkippedEqualsDense) {
  const std::vector<int32_t> prompt = SomePrompt(120), next = SomePrompt(5, 4);
  const auto runner = Open();
  const RunResult dense = runner->Run(prompt, nullptr, next);
  for (const FfnScore score : {FfnScore::kAttention, FfnScore::kExact}) {
    const SkipPolicy policy = Layered(0.5, 0.1, score);
    SkipPlan plan = DensePlan(runner->file().config(), 120);
    plan.trunk_layers = policy.start;
    ASSERT_FALSE(plan.dense());
    EXPECT_EQ(runner->Run(prompt, policy, plan, next).logits, dense.logits) << "without probes";
    for (size_t i = policy.start; i < plan.layers.size(); ++i) {
      plan.layers[i].candidates =
          121;  // one more than there are, so that the layer counts as skipping
      plan.layers[i].probes = true;
      ASSERT_TRUE(plan.layers[i].skips());
    }
    EXPECT_EQ(runner->Run(prompt, policy, plan, next).logits, dense.logits) << "with probes";
  }
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
        EXPECT_TRUE(std::binary_search(rows->begin(), rows->end(), position))
            << "layer " << i << " " << position;
      }
    }
  }
}

TEST(SkippingLayers, CpuFollowsTheReference) {
  const std::vector<int32_t> prompt = SomePrompt(300), next = SomePrompt(3, 4);
  for (const FfnScore score : {FfnScore::kAttention, FfnScore::kExact}) {
    const SkipPolicy policy = Layered(0.5, 0.1, score);
    RunOptions options;
    const auto cpu = Open(options, true);
    const RunResult expected = Open(options)->Run(prompt, &policy, next),
                    actual = cpu->Run(prompt, &policy, next);
    for (size_t i = 0; i < expected.rows.size(); ++i) {
      EXPECT_EQ(actual.rows[i].attention, expected.rows[i].attention) << "layer " << i;
      EXPECT_EQ(actual.rows[i].ffn, expected.rows[i].ffn) << "layer " << i;
    }
    for (size_t i = 0; i < expected.logits.size(); ++i) {
      EXPECT_LT(RelativeError(actual.logits[i], expected.logits[i]),
                Float32Bound(cpu->file().config()));
    }
    // bf16 moves scores by a few parts in 256, which swaps rows at the border of a set.
    options.dtype = DType::kBF16;
    const RunResult rounded = Open(options)->Run(prompt, &policy, next);
    EXPECT_GE(SharedRows(Open(options, true)->Run(prompt, &policy, next).rows, rounded.rows,
                         prompt.size()),
              0.93);
  }
}

}  // namespace
}  // namespace skipserve::testing
