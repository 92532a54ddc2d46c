// `skipserve bench` on the tiny model: its figures' names and sums, never their sizes.
#include "server/bench.h"
#include "tests/server/tools_fixture.h"

namespace skipserve {
namespace {

using ::testing::HasSubstr;

class BenchTest : public testing::ToolsTest {
 protected:
  BenchTest() {
    job_.engine = testing::TinyOptions();
    job_.prompt_lengths = {32, 100};
    job_.levels = {"off", testing::kTinyPolicy};
    job_.decode_tokens = 3;
    job_.repeat = 2;
  }
  BenchJob job_;
};

TEST_F(BenchTest, JsonHasEveryCell) {
  job_.json_path = "-";
  ASSERT_EQ(Bench(job_, io()), 0) << Err();
  const nlohmann::json json = OutJson();
  ASSERT_TRUE(json.is_object());
  EXPECT_EQ(json["model"]["dtype"], "f32");
  EXPECT_GE(json["machine"]["threads"], 1);
  EXPECT_GT(json["peak_memory_bytes"], 0);
  ASSERT_EQ(json["results"].size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    const nlohmann::json& cell = json["results"][i];
    EXPECT_EQ(cell["prompt_tokens"], i < 2 ? 32 : 100);
    EXPECT_EQ(cell["ttft_seconds_runs"].size(), 2u);
    EXPECT_GT(cell["prefill_tokens_per_second"], 0);
    EXPECT_GT(cell["decode_tokens_per_second"], 0);
    EXPECT_GT(cell["gain"], 0);
    EXPECT_EQ(cell["kv_bytes"], cell["skip"]["kv_token_layers"].get<int64_t>() * 2 * 2 * 16 * 4);
    EXPECT_EQ(cell["skip"]["level"], i % 2 == 0 ? "off" : "custom");
    EXPECT_EQ(cell["skip"]["flop_bound"] > 1.0, i % 2 == 1);
  }
}

TEST_F(BenchTest, TableAndFile) {
  job_.prompt_lengths = {32};
  job_.repeat = 1;
  job_.json_path = Path("out.json");
  ASSERT_EQ(Bench(job_, io()), 0) << Err();
  const std::string table = Out();
  for (const char* part : {"prefill tok/s", "FLOP bound", "decode tok/s", "KV tokens cached",
                           "peak memory", "custom"}) {
    EXPECT_THAT(table, HasSubstr(part));
  }
  EXPECT_EQ(
      nlohmann::json::parse(testing::ReadAll(job_.json_path), nullptr, false)["results"].size(),
      2u);
}

TEST_F(BenchTest, MistakesAreNamed) {
  const auto error = [this](const BenchJob& job) {
    EXPECT_EQ(Bench(job, io()), 1);
    return Err();
  };
  BenchJob job = job_;
  job.prompt_lengths = {32, 2048};
  EXPECT_THAT(
      error(job),
      HasSubstr("a prompt of 2048 tokens and 4 new ones do not fit this model's context of 2048"));
  job = job_;
  job.prompt_lengths = {0};
  EXPECT_THAT(error(job), HasSubstr("--prompt-lengths has 0"));
  job = job_;
  job.levels = {"nosuch"};
  EXPECT_THAT(error(job), HasSubstr("nosuch"));
  job = job_;
  job.repeat = 0;
  EXPECT_THAT(error(job), HasSubstr("--repeat"));
  job = job_;
  job.json_path = Path("nowhere/out.json");
  EXPECT_THAT(error(job), HasSubstr("cannot write"));
}

}  // namespace
}  // namespace skipserve
