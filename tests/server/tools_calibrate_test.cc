// `skipserve calibrate` on the tiny model: what it writes is used, and a failure leaves what was
// there.
#include "server/calibrate.h"
#include "server/generate.h"
#include "tests/server/tools_fixture.h"

namespace skipserve {
namespace {

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
