// `skipserve inspect` on the tiny model.
#include "engine/model_file.h"
#include "engine/skip/policy_fingerprint.h"
#include "engine/skip/skip_file.h"
#include "server/generate.h"
#include "server/inspect.h"
#include "server/inspect_facts.h"
#include "tests/server/tools_fixture.h"

namespace skipserve {
namespace {

using ::testing::HasSubstr;

class InspectTest : public testing::ToolsTest {
 protected:
  InspectTest() { job_.engine = testing::TinyOptions(); }
  InspectJob job_;
};

TEST_F(InspectTest, KvOf8BitsIsSmaller) {
  job_.json = true;
  job_.engine.kv_dtype = "int8";
  ASSERT_EQ(Inspect(job_, io()), 0) << Err();
  const nlohmann::json facts = OutJson();
  EXPECT_EQ(facts["kv_dtype"], "int8");
  EXPECT_EQ(facts["kv_bytes_per_token"], 6 * 2 * 2 * (16 + 2));
}

TEST_F(InspectTest, KvTypeMustBeOneOfThree) {
  job_.engine.kv_dtype = "int4";
  EXPECT_NE(Inspect(job_, io()), 0);
  EXPECT_THAT(Err(), HasSubstr("--kv-dtype is \"int4\"; it must be auto, f32, bf16 or int8"));
}

TEST_F(InspectTest, JsonHasTheModelsFacts) {
  job_.json = true;
  ASSERT_EQ(Inspect(job_, io()), 0) << Err();
  const nlohmann::json facts = OutJson();
  ASSERT_TRUE(facts.is_object());
  EXPECT_EQ(facts["architecture"], "llama");
  EXPECT_EQ(facts["layers"], 6);
  EXPECT_EQ(facts["heads"], 6);
  EXPECT_EQ(facts["kv_heads"], 2);
  EXPECT_EQ(facts["context"], 2048);
  EXPECT_EQ(facts["dtype"], "f32");
  EXPECT_EQ(facts["kv_dtype"], "f32");
  EXPECT_EQ(facts["kv_bytes_per_token"], 6 * 2 * 2 * 16 * 4);
  EXPECT_EQ(facts["tokenizer"]["vocabulary"], 320);
  EXPECT_EQ(facts["fingerprint"].get<std::string>().size(), 64u);
  EXPECT_EQ(facts["skip"]["file_state"], "none");
  EXPECT_EQ(facts["skip"]["default_level"], "off");
  ASSERT_EQ(facts["skip"]["levels"].size(), 2u);
  const nlohmann::json level = facts["skip"]["levels"][0], bounds = level["bounds"];
  ASSERT_EQ(bounds.size(), 2u);  // the context has room for 2,048 tokens and no longer prompt
  EXPECT_EQ(bounds[0]["prompt_tokens"], 1024);
  EXPECT_EQ(bounds[1]["prompt_tokens"], 2048);
  EXPECT_LT(bounds[1]["kv_share"].get<double>(), 1);
  EXPECT_GT(bounds[1]["flop_bound"].get<double>(), 1);
  EXPECT_EQ(level["policy_fingerprint"].get<std::string>().size(), 16u);
  EXPECT_FALSE(level.contains("figures"));
}

// A skip file beside a copy of the model, whose one level was measured.
TEST_F(InspectTest, ShowsWhatTheSkipFilesLevelsWereMeasuredToCost) {
  job_.engine.model_path = TinyCopy();
  const auto model = ModelFile::Open(job_.engine.model_path);
  ASSERT_TRUE(model.ok()) << model.status();
  const ModelConfig& config = (*model)->config();
  SkipFile file;
  file.fingerprint = (*model)->fingerprint();
  file.layers = config.layers;
  file.width = config.width;
  file.ffn_width = config.ffn_width;
  SkipLevel level = {"half", *PolicyFromJson(nlohmann::json::parse(testing::kTinyPolicy))};
  level.figures = {{{500, 24, 1.5, 0.25, 0.875, 11, 15}}, {"counting"}, "words"};
  file.settings = {.default_level = "half", .min_prompt = 30, .levels = {level}};
  ASSERT_TRUE(WriteSkipFile(Path("tiny.gguf.skip"), file).ok());

  ASSERT_EQ(Inspect(job_, io()), 0) << Err();
  const std::string text = Out();
  for (const char* part : {"half (default)", "11 of 15", "87.5 %", "0.2500 nats", "counting"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  EXPECT_THAT(text, HasSubstr(PolicyFingerprint(level.policy)));
  job_.json = true;
  ASSERT_EQ(Inspect(job_, io()), 0) << Err();
  EXPECT_EQ(OutJson()["skip"]["levels"][0]["figures"], FiguresToJson(level.figures));

  // And what it says of a run.
  GenerateJob generate;
  generate.engine = job_.engine;
  generate.question.prompt = testing::Words(60);
  generate.question.raw = true;
  generate.skips = {"off", "auto", testing::kTinyPolicy};
  generate.stop.max_tokens = 2;
  generate.json = true;
  ASSERT_EQ(Generate(generate, io()), 0) << Err();
  const nlohmann::json runs = OutJson()["runs"];
  ASSERT_EQ(runs.size(), 3u);
  EXPECT_EQ(runs[0]["skip"]["expected_agreement"], 1.0);
  EXPECT_EQ(runs[1]["skip"]["level"], "half");
  EXPECT_EQ(runs[1]["skip"]["expected_kl"], 0.25);
  EXPECT_EQ(runs[1]["skip"]["expected_agreement"], 0.875);
  EXPECT_EQ(runs[1]["skip"]["policy_fingerprint"], runs[2]["skip"]["policy_fingerprint"]);
  EXPECT_FALSE(runs[2]["skip"].contains("expected_kl"));
}

TEST_F(InspectTest, CountsParameters) {
  ModelConfig c;
  c.layers = 30;
  c.width = 576;
  c.ffn_width = 1536;
  c.heads = 9;
  c.kv_heads = 3;
  c.head_dim = 64;
  c.vocab_size = 49152;
  c.tied_embeddings = true;
  EXPECT_EQ(CountParameters(c), 134515008);  // SmolLM2-135M, as PyTorch counts it
}

TEST_F(InspectTest, ADamagedSkipFileIsAFactNotAFailure) {
  job_.engine.model_path = TinyCopy();
  Write("tiny.gguf.skip", "garbage");
  ASSERT_EQ(Inspect(job_, io()), 0) << Err();
  EXPECT_THAT(Out(), HasSubstr("tiny.gguf.skip"));
}

TEST_F(InspectTest, WritesThePageOfARun) {
  job_.question.prompt = testing::Words(60);
  job_.question.question = "Which?";
  job_.question.raw = true;
  job_.skip = testing::kTinyPolicy;
  job_.max_tokens = 3;
  job_.html = Path("page.html");
  ASSERT_EQ(Inspect(job_, io()), 0) << Err();
  EXPECT_THAT(Out(), HasSubstr("wrote " + job_.html));
  const std::string page = testing::ReadAll(job_.html);
  const std::string open = "id=\"data\">";
  const size_t begin = page.find(open) + open.size();
  const auto data = nlohmann::json::parse(page.substr(begin, page.find("</script>", begin) - begin),
                                          nullptr, false);
  ASSERT_TRUE(data.is_object());
  std::string text;
  for (const auto& token : data["texts"]) text += token.get<std::string>();
  EXPECT_THAT(text, HasSubstr(testing::Words(60) + "\n\nWhich?"));
  ASSERT_EQ(data["attention"].size(), 6u);
  EXPECT_EQ(data["attention"][1], "*");
  EXPECT_NE(data["attention"][2], "*");
  EXPECT_EQ(data["skip"]["level"], "custom");
}

TEST_F(InspectTest, MistakesAreNamed) {
  job_.question.question = "Which?";
  EXPECT_EQ(Inspect(job_, io()), 1);
  EXPECT_THAT(Err(), HasSubstr("--html"));
  job_.question.question = "";
  job_.html = Path("page.html");
  EXPECT_EQ(Inspect(job_, io()), 1);
  EXPECT_THAT(Err(), HasSubstr("--html needs"));
  job_.html = "";
  job_.engine.model_path = Path("missing.gguf");
  EXPECT_EQ(Inspect(job_, io()), 1);
  EXPECT_THAT(Err(), HasSubstr("missing.gguf"));
}

}  // namespace
}  // namespace skipserve
