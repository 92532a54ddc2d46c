// The search for levels on the tiny model: what it says is best is the best of what it measured.
#include "engine/quality/search.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "engine/quality/evaluator.h"
#include "tests/support/run_model.h"

namespace skipserve::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ProbingLayersTest, AreThoseThatKnowMoreThanAllBeforeThem) {
  EXPECT_EQ(ProbingLayers({9, 8, 3, 7, 5, 2, 2, 4, 1}, 2), (std::vector<int32_t>{2, 5, 6, 8}));
  EXPECT_EQ(ProbingLayers({1, 2, 3}, 0), (std::vector<int32_t>{0}));
}

class SearchTest : public ::testing::Test {
 protected:
  SearchTest() {
    const std::string tiny = std::string(SKIPSERVE_SOURCE_DIR) + "/tests/golden/tiny/tiny.gguf";
    runner_ = ModelRunner::Open(tiny, MakeReferenceOps(), {});
    reader_ = *PromptReader::Create(runner_->decoder(), {}, DType::kF32, 120,
                                    [] { return absl::UnixEpoch(); });
    tokenizer_ = *Tokenizer::Create(runner_->file().tokenizer());
    for (const int seed : {1, 2}) {
      Task task;
      task.prompt = SomePrompt(80 + seed, seed);
      task.max_new_tokens = 4;
      (seed == 1 ? tasks_.facts : tasks_.whole).push_back(task);
    }
  }

  absl::StatusOr<SearchResult> Search(const std::vector<LevelTarget>& targets) {
    Evaluator evaluator(*reader_, *tokenizer_, runner_->file().config(), {});
    const auto measurer = *Measurer::Create(evaluator, "", "");
    return SearchPolicies(tasks_, targets, runner_->file().config(), *measurer,
                          [](absl::string_view, int64_t, int64_t) {});
  }

  std::unique_ptr<ModelRunner> runner_;
  std::unique_ptr<PromptReader> reader_;
  std::unique_ptr<Tokenizer> tokenizer_;
  SearchTasks tasks_;
};

TEST_F(SearchTest, LevelsAreTheFrontsOwn) {
  const std::vector<LevelTarget> targets = {{"gentle", 1.2, 1e9}, {"fast", 1.6, 1e9}};
  const auto result = Search(targets);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(result->met, ElementsAre(true, true));
  ASSERT_GE(result->front.size(), 2);
  for (size_t i = 1; i < result->front.size(); ++i) {
    EXPECT_GT(result->front[i].flop_bound, result->front[i - 1].flop_bound);
    EXPECT_GT(result->front[i].loss(), result->front[i - 1].loss());
  }
  for (size_t i = 0; i < targets.size(); ++i) {
    const auto best =
        std::find_if(result->front.begin(), result->front.end(),
                     [&](const Candidate& c) { return c.flop_bound >= targets[i].min_speedup; });
    ASSERT_NE(best, result->front.end());
    EXPECT_EQ(result->levels[i].policy, best->policy) << targets[i].name;
    EXPECT_LT(best->flop_bound, 1.1 * targets[i].min_speedup) << "no slack is left";
  }
}

TEST_F(SearchTest, LessSpeedIsTriedForQualityThatIsNotToBeHad) {
  const auto free = Search({{"only", 1.6, 1e9}}), strict = Search({{"only", 1.6, 0}});
  ASSERT_TRUE(free.ok() && strict.ok()) << free.status() << strict.status();
  EXPECT_GE(free->front.front().flop_bound, 1.6);
  EXPECT_LT(strict->front.front().flop_bound, 1.6);
  EXPECT_THAT(strict->met, ElementsAre(false));
  EXPECT_EQ(strict->levels[0].policy, free->levels[0].policy) << "the best there is";
}

TEST_F(SearchTest, WhatNoLayerCanSaveIsSaid) {
  const absl::Status status = Search({{"only", 50, 1e9}}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("--min-speedup"));
}

}  // namespace
}  // namespace skipserve::testing
