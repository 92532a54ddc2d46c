// What a search has measured is kept: an interrupted one measures nothing twice, and nothing of
// another search is believed.
#include "engine/quality/measurer.h"

#include <gmock/gmock.h>

#include <cstdio>
#include <fstream>
#include <sstream>

#include "engine/skip/policy_fingerprint.h"
#include "engine/skip/ready_settings.h"
#include "tests/support/run_model.h"

namespace skipserve::testing {
namespace {

const std::string kTiny = std::string(SKIPSERVE_SOURCE_DIR) + "/tests/golden/tiny/tiny.gguf";

SkipPolicy Layered(double first, double last) {
  SkipPolicy policy = LayeredPolicy(2, 6, first, last);
  policy.ffn_score = FfnScore::kAttention;
  return policy;
}

class MeasurerTest : public ::testing::Test {
 protected:
  MeasurerTest() {
    runner_ = ModelRunner::Open(kTiny, MakeReferenceOps(), {});
    reader_ = *PromptReader::Create(runner_->decoder(), {}, DType::kF32, 120,
                                    [] { return absl::UnixEpoch(); });
    tokenizer_ = *Tokenizer::Create(runner_->file().tokenizer());
    for (int seed : {1, 2}) {
      Task task;
      task.prompt = SomePrompt(80, seed);
      task.max_new_tokens = 4;
      tasks_.push_back(task);
    }
    std::remove(journal_.c_str());
  }
  ~MeasurerTest() override { std::remove(journal_.c_str()); }

  std::vector<std::vector<Outcome>> Measure(const std::string& identity) {
    Evaluator evaluator(*reader_, *tokenizer_, runner_->file().config(), {});
    const auto measurer = *Measurer::Create(evaluator, journal_, identity);
    return *measurer->Measure(tasks_, policies_, "stage",
                              [](absl::string_view, int64_t, int64_t) {});
  }

  std::string Journal() {
    std::ifstream file(journal_);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }

  void Replace(const std::string& from, const std::string& to) {
    std::string text = Journal();
    size_t count = 0;
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size(), ++count) {
      text.replace(at, from.size(), to);
    }
    ASSERT_GT(count, 0u) << from;
    std::ofstream(journal_) << text;
  }

  const std::string journal_ = ::testing::TempDir() + "measurer_test.journal";
  const std::vector<SkipPolicy> policies_ = {Layered(0.5, 0.1), Layered(0.3, 0.05)};
  std::unique_ptr<ModelRunner> runner_;
  std::unique_ptr<PromptReader> reader_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::vector<Task> tasks_;
};

TEST_F(MeasurerTest, KnowsWhatTheJournalHas) {
  const auto first = Measure("one");
  ASSERT_GT(first[0][0].kl, 0);
  ASSERT_NE(first[0][0].kl, first[1][0].kl);
  Replace("\"agreed\":", "\"agreed\":1000");  // every count becomes one that nobody measures
  const auto again = Measure("one");
  for (size_t policy : {0, 1}) {
    for (size_t task : {0, 1}) {
      EXPECT_GE(again[policy][task].agreed, 1000) << "measured again";
      EXPECT_EQ(again[policy][task].kl, first[policy][task].kl) << "not the same number";
    }
  }
}

TEST_F(MeasurerTest, MeasuresAgainWhatWasCutShortOrIsOfAnotherSearch) {
  const auto first = Measure("one");
  const std::string whole = Journal();
  std::ofstream(journal_) << whole.substr(0, whole.size() - 20);  // interrupted while writing
  const auto again = Measure("one");
  EXPECT_EQ(again[1][1].kl, first[1][1].kl);
  EXPECT_EQ(Journal(), whole) << "the rest is as it was";
  Replace("\"agreed\":", "\"agreed\":1000");
  EXPECT_LT(Measure("two")[0][0].agreed, 1000) << "another model's or other texts' figures";
}

}  // namespace
}  // namespace skipserve::testing
