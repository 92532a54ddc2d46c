// `skipserve calibrate` on the tiny model: what it writes is used, and a failure leaves what was
// there.
#include <filesystem>

#include "server/calibrate.h"
#include "server/generate.h"
#include "tests/server/tools_fixture.h"

namespace skipserve {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kProductPolicy[] =
    R"({"start": 2, "stage_ends": [3], "budgets": [0.5], "keeps": [0.25], "ffn_score": "product"})";

class CalibrateTest : public testing::ToolsTest {
 protected:
  CalibrateTest() {
    job_.calibrate.model_path = TinyCopy();
    job_.calibrate.tokens_per_text = 64;
    job_.calibrate.max_pieces = 4;
    job_.calibrate.rows_per_piece = 32;
    job_.calibrate.threads = 1;
    job_.texts = {Write("text.txt", testing::Words(200))};
    job_.no_search = true;
  }

  CalibrateJob job_;
};

TEST_F(CalibrateTest, WhatItWritesIsUsed) {
  GenerateJob generate;
  generate.engine = testing::TinyOptions();
  generate.engine.model_path = job_.calibrate.model_path;
  generate.question.prompt = testing::Words(40);
  generate.question.raw = true;
  generate.skips = {kProductPolicy};
  generate.stop.max_tokens = 2;
  generate.json = true;
  EXPECT_EQ(Generate(generate, io()), 1);  // product needs proxies
  EXPECT_THAT(Err(), HasSubstr("skipserve calibrate"));

  ASSERT_EQ(CalibrateModel(job_, io()), 0) << Err();
  EXPECT_THAT(Out(), HasSubstr("tiny.gguf.skip"));
  ASSERT_EQ(Generate(generate, io()), 0) << Err();
  EXPECT_GT(OutJson()["skip"]["skip_ratio"].get<double>(), 0.1);

  generate.skips = {"moderate"};
  Err();
  ASSERT_EQ(Generate(generate, io()), 0) << Err();
  EXPECT_EQ(OutJson()["skip"]["level"], "moderate");
}

TEST_F(CalibrateTest, TheSameTextsGiveTheSameFile) {
  job_.out = Path("one.skip");
  ASSERT_EQ(CalibrateModel(job_, io()), 0) << Err();
  job_.out = Path("two.skip");
  ASSERT_EQ(CalibrateModel(job_, io()), 0) << Err();
  EXPECT_EQ(testing::ReadAll(Path("one.skip")), testing::ReadAll(Path("two.skip")));
  EXPECT_FALSE(testing::ReadAll(Path("one.skip")).empty());
}

TEST_F(CalibrateTest, TooLittleTextLeavesTheOldFile) {
  const std::string old = Write("tiny.gguf.skip", "the old file");
  job_.texts = {Write("short.txt", "just a few words")};
  EXPECT_EQ(CalibrateModel(job_, io()), 1);
  const std::string said = Err();
  EXPECT_THAT(said, HasSubstr("at least 128 are needed"));
  EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;
  EXPECT_EQ(testing::ReadAll(old), "the old file");
}

class CalibrateSearchTest : public CalibrateTest {
 protected:
  CalibrateSearchTest() {
    job_.no_search = false;
    job_.dtype = "f32";
    job_.texts = {Write("a.txt", testing::Words(1500)), Write("b.txt", testing::Words(1600))};
    job_.find.tokens = 192;
    job_.find.facts = 1;
    job_.find.held_out_cases = 1;
    job_.min_speedups = {1.1, 1.3, 1.5};
    job_.max_kls = {10, 10, 10};
  }
};

TEST_F(CalibrateSearchTest, WritesLevelsWithTheirFigures) {
  ASSERT_EQ(CalibrateModel(job_, io()), 0) << Err();
  EXPECT_THAT(Out(), AllOf(HasSubstr("the best the search measured"), HasSubstr("from layer "),
                           HasSubstr("the default is gentle"), HasSubstr("FLOP bound")));
  EXPECT_FALSE(std::filesystem::exists(Path("tiny.gguf.skip.partial"))) << "done";

  GenerateJob generate;
  generate.engine = testing::TinyOptions();
  generate.engine.model_path = job_.calibrate.model_path;
  generate.question.prompt = testing::Words(60);
  generate.question.raw = true;
  generate.skips = {"fast"};
  generate.stop.max_tokens = 2;
  generate.json = true;
  ASSERT_EQ(Generate(generate, io()), 0) << Err();
  const auto skip = OutJson()["skip"];
  EXPECT_EQ(skip["level"], "fast");
  EXPECT_GE(skip["flop_bound"].get<double>(), 1.2);
  EXPECT_GT(skip["expected_kl"].get<double>(), 0);
}

TEST_F(CalibrateSearchTest, TargetsThatCannotBeMetAreSaidAndWriteNothing) {
  const std::string old = Write("tiny.gguf.skip", "the old file");
  job_.max_kls = {0, 0, 0};
  EXPECT_EQ(CalibrateModel(job_, io()), 1);
  EXPECT_THAT(Err(), AllOf(HasSubstr("best I found is"), HasSubstr("--max-kl")));
  EXPECT_EQ(testing::ReadAll(old), "the old file");
  EXPECT_TRUE(std::filesystem::exists(Path("tiny.gguf.skip.partial"))) << "for the next try";

  job_.max_kls = {10, 10};
  EXPECT_EQ(CalibrateModel(job_, io()), 1);
  EXPECT_THAT(Err(), HasSubstr("take three numbers"));
}

TEST_F(CalibrateSearchTest, TooLittleTextForTheTasksIsSaid) {
  job_.texts = {Write("a.txt", testing::Words(60))};
  job_.find.tokens = 1 << 20;  // as long as the model can read
  EXPECT_EQ(CalibrateModel(job_, io()), 1);
  EXPECT_THAT(Err(), HasSubstr("give more or longer"));
}

TEST_F(CalibrateTest, MistakesComeBeforeTheWork) {
  job_.out = Path("nowhere/file.skip");
  EXPECT_EQ(CalibrateModel(job_, io()), 1);
  EXPECT_THAT(Err(), HasSubstr("there is no folder"));
  job_.out = "";
  job_.texts = {Path("missing")};
  EXPECT_EQ(CalibrateModel(job_, io()), 1);
  EXPECT_THAT(Err(), HasSubstr("missing: No such file"));
}

}  // namespace
}  // namespace skipserve
