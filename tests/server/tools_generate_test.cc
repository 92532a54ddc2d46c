// `skipserve generate` on the tiny model.
#include "server/generate.h"
#include "tests/server/tools_fixture.h"

namespace skipserve {
namespace {

using ::testing::HasSubstr;

class GenerateTest : public testing::ToolsTest {
 protected:
  GenerateTest() {
    job_.engine = testing::TinyOptions();
    job_.question.document_path = Write("doc.txt", testing::Words(60));
    job_.question.question = "Which word?";
    job_.question.raw = true;
    job_.skips = {"off"};
    job_.sampling.temperature = 0;
    job_.stop.max_tokens = 5;
    job_.stop.ignore_eos = true;
  }

  GenerateJob job_;
};

TEST_F(GenerateTest, JsonIsValidAndTheSameEveryTime) {
  job_.json = true;
  ASSERT_EQ(Generate(job_, io()), 0) << Err();
  nlohmann::json first = OutJson();
  ASSERT_TRUE(first.is_object());
  EXPECT_EQ(first["requested_skip"], "off");
  EXPECT_EQ(first["finish_reason"], "length");
  EXPECT_EQ(first["token_ids"].size(), 5u);
  EXPECT_EQ(first["usage"]["completion_tokens"], 5);
  EXPECT_EQ(first["skip"]["level"], "off");
  EXPECT_EQ(first["skip"]["kv_token_layers"], first["skip"]["token_layers"]);
  EXPECT_TRUE(first["timings"]["ttft_seconds"].is_number());
  ASSERT_EQ(Generate(job_, io()), 0) << Err();
  nlohmann::json second = OutJson();
  first.erase("timings");
  second.erase("timings");
  EXPECT_EQ(first, second);
}

TEST_F(GenerateTest, StreamsTheAnswerAndReportsBesideIt) {
  job_.json = true;
  ASSERT_EQ(Generate(job_, io()), 0);
  const std::string text = OutJson()["text"];
  job_.json = false;
  ASSERT_EQ(Generate(job_, io()), 0);
  EXPECT_EQ(Out().size() > 0, true);
  const std::string report = Err();
  for (const char* part : {"prompt tokens", "skip level", "token-layers skipped", "FLOP bound",
                           "KV tokens cached", "TTFT", "tokens per second"}) {
    EXPECT_THAT(report, HasSubstr(part));
  }
}

TEST_F(GenerateTest, ComparesDenseAndSkipping) {
  job_.skips = {"off", testing::kTinyPolicy};
  ASSERT_EQ(Generate(job_, io()), 0) << Err();
  const std::string table = Out();
  EXPECT_THAT(table, HasSubstr("answer"));
  EXPECT_THAT(table, HasSubstr("custom"));
  EXPECT_THAT(table, HasSubstr("times as fast as off"));

  job_.json = true;
  ASSERT_EQ(Generate(job_, io()), 0) << Err();
  const nlohmann::json runs = OutJson()["runs"];
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_EQ(runs[0]["skip"]["skip_ratio"], 0.0);
  EXPECT_GT(runs[1]["skip"]["skip_ratio"].get<double>(), 0.1);
  EXPECT_EQ(runs[0]["usage"]["prompt_tokens"], runs[1]["usage"]["prompt_tokens"]);
}

TEST_F(GenerateTest, AnAnswerThatCannotBeWrittenIsAFailure) {
  std::FILE* full = std::fopen("/dev/full", "w");
  ASSERT_NE(full, nullptr);
  const ToolIo lost{full, io().err};
  for (const bool json : {false, true}) {
    job_.json = json;
    EXPECT_EQ(Generate(job_, lost), 1);
    EXPECT_THAT(Err(), HasSubstr("skipserve generate: the output could not be written"));
    std::clearerr(full);
  }
  std::fclose(full);
}

TEST_F(GenerateTest, MistakesAreOneLineThatNamesThem) {
  const auto error = [this](const GenerateJob& job) {
    EXPECT_EQ(Generate(job, io()), 1);
    EXPECT_EQ(Out(), "");
    std::string said = Err();
    EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;
    return said;
  };
  GenerateJob job = job_;
  job.skips = {"nosuch"};
  EXPECT_THAT(error(job), HasSubstr("unknown skip level \"nosuch\""));
  job = job_;
  job.question.document_path = Path("missing.txt");
  EXPECT_THAT(error(job), HasSubstr("missing.txt: No such file"));
  job = job_;
  job.question = Question();
  EXPECT_THAT(error(job), HasSubstr("nothing to ask"));
  job = job_;
  job.question.document_path = Write("long.txt", testing::Words(2000));
  EXPECT_THAT(error(job), HasSubstr("the context holds 2048"));
  job = job_;
  job.engine.model_path = Write("bad.gguf", "not a model");
  EXPECT_THAT(error(job), HasSubstr("skipserve generate: "));
}

}  // namespace
}  // namespace skipserve
