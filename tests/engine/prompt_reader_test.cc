// The reader of quality measurements gives what separate runs give, whatever it read before.
#include "engine/quality/prompt_reader.h"

#include <gtest/gtest.h>

#include "engine/quality/divergence.h"
#include "engine/skip/ready_settings.h"
#include "tests/support/run_model.h"

namespace skipserve::testing {
namespace {

const std::string kTiny = std::string(SKIPSERVE_SOURCE_DIR) + "/tests/golden/tiny/tiny.gguf";

SkipPolicy Layered(int32_t start, double first, double last) {
  SkipPolicy policy = LayeredPolicy(start, 6, first, last);
  policy.window = 4;
  policy.pool = 3;
  policy.recent = 4;
  policy.ffn_score = FfnScore::kExact;
  return policy;
}

class PromptReaderTest : public ::testing::Test {
 protected:
  static constexpr int64_t kRoom = 300;

  PromptReaderTest() {
    RunOptions options;
    options.max_rows = 64;
    runner_ = ModelRunner::Open(kTiny, MakeReferenceOps(), options);
    reader_ = *PromptReader::Create(runner_->decoder(), {}, DType::kF32, kRoom,
                                    [] { return absl::UnixEpoch(); });
  }

  std::vector<float> Flat(const std::vector<std::vector<float>>& rows, size_t count) {
    std::vector<float> flat;
    for (size_t i = 0; i < count; ++i) flat.insert(flat.end(), rows[i].begin(), rows[i].end());
    return flat;
  }

  // The logits for every token of `answer` after the prompt, from a run of its own.
  std::vector<float> Expected(const SkipPolicy* policy, const std::vector<int32_t>& answer) {
    return Flat(runner_->Run(prompt_, policy, answer).logits, answer.size());
  }

  SkipPlan Plan(const SkipPolicy& policy) {
    return MakePlan(policy, runner_->file().config(), static_cast<int64_t>(prompt_.size()));
  }

  const std::vector<int32_t> prompt_ = SomePrompt(200), answer_ = SomePrompt(40, 4);
  std::unique_ptr<ModelRunner> runner_;
  std::unique_ptr<PromptReader> reader_;
};

TEST_F(PromptReaderTest, ForcesAnswersAsSeparateRunsDo) {
  const SkipPolicy early = Layered(1, 0.6, 0.1), late = Layered(3, 0.4, 0.05);
  ASSERT_TRUE(reader_->ReadDense(prompt_, {1, 3}).ok());
  const std::vector<float> dense = Expected(nullptr, answer_);
  EXPECT_EQ(*reader_->Force(answer_), dense);
  // Again and again: no reading spoils what the next one needs.
  for (int round = 0; round < 2; ++round) {
    for (const SkipPolicy& policy : {early, late}) {
      ASSERT_TRUE(reader_->Read(policy, Plan(policy), nullptr).ok());
      const std::vector<float> expected = Expected(&policy, answer_);
      ASSERT_NE(expected, dense);
      EXPECT_EQ(*reader_->Force(answer_), expected) << policy.start << " in round " << round;
      EXPECT_EQ(*reader_->Force(answer_), expected) << "twice";
    }
    const SkipPlan all = DensePlan(runner_->file().config(), 200);
    ASSERT_TRUE(reader_->Read(SkipPolicy(), all, nullptr).ok());
    EXPECT_EQ(*reader_->Force(answer_), dense);
  }
}

TEST_F(PromptReaderTest, AnswersGreedily) {
  const SkipPolicy policy = Layered(2, 0.5, 0.1);
  ASSERT_TRUE(reader_->ReadDense(prompt_, {2}).ok());
  for (const bool dense : {true, false}) {
    if (!dense) {
      ASSERT_TRUE(reader_->Read(policy, Plan(policy), nullptr).ok());
    }
    const std::vector<int32_t> answer = *reader_->Answer(12, {});
    ASSERT_EQ(answer.size(), 12u);
    const std::vector<std::vector<float>> logits =
        runner_->Run(prompt_, dense ? nullptr : &policy, answer).logits;
    for (size_t i = 0; i < answer.size(); ++i) EXPECT_EQ(answer[i], ArgMax(logits[i])) << i;
    const std::vector<int32_t> stopped = *reader_->Answer(12, {answer[3]});
    const auto first = std::find(answer.begin(), answer.end(), answer[3]);
    EXPECT_EQ(stopped, std::vector<int32_t>(answer.begin(), first + 1));
  }
}

TEST_F(PromptReaderTest, ShowsTheRowsOfSkippingLayers) {
  const SkipPolicy policy = Layered(2, 0.5, 0.1);
  ASSERT_TRUE(reader_->ReadDense(prompt_, {2}).ok());
  std::vector<LayerRows> rows;
  ASSERT_TRUE(reader_->Read(policy, Plan(policy), &rows).ok());
  const std::vector<LayerRows> expected = runner_->Run(prompt_, &policy, {}).rows;
  for (size_t layer = 2; layer < expected.size(); ++layer) {
    EXPECT_EQ(rows[layer].attention, expected[layer].attention);
    EXPECT_EQ(rows[layer].ffn, expected[layer].ffn);
  }
}

TEST_F(PromptReaderTest, RefusesWhatItHasNoRoomOrStatesFor) {
  EXPECT_EQ(reader_->ReadDense({}, {}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(reader_->ReadDense(SomePrompt(301), {}).code(), absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(reader_->ReadDense(prompt_, {2}).ok());
  const SkipPolicy policy = Layered(3, 0.5, 0.1);
  EXPECT_EQ(reader_->Read(policy, Plan(policy), nullptr).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(reader_->Force(SomePrompt(101)).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(reader_->Answer(101, {}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(reader_->Force(SomePrompt(100)).ok());
}

}  // namespace
}  // namespace skipserve::testing
