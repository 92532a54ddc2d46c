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

TEST_F(BenchTest, KvOf8BitsTakesLessMemory) {
  job_.json_path = "-";
  job_.engine.kv_dtype = "int8";
  ASSERT_EQ(Bench(job_, io()), 0) << Err();
  const nlohmann::json json = OutJson(), cell = json["results"][0];
  EXPECT_EQ(json["model"]["kv_dtype"], "int8");
  EXPECT_EQ(cell["kv_bytes"], cell["skip"]["kv_token_layers"].get<int64_t>() * 2 * 2 * (16 + 2));
}

TEST_F(BenchTest, JsonHasEveryCell) {
  job_.json_path = "-";
  ASSERT_EQ(Bench(job_, io()), 0) << Err();
  const nlohmann::json json = OutJson();
  ASSERT_TRUE(json.is_object());
  EXPECT_EQ(json["model"]["dtype"], "f32");
  EXPECT_EQ(json["model"]["kv_dtype"], "f32");
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

TEST_F(BenchTest, AProfileCountsTheWorkOfOneRun) {
  job_.prompt_lengths = {100};
  job_.levels = {"off"};
  job_.repeat = 1;
  job_.profile = true;
  job_.json_path = Path("out.json");
  ASSERT_EQ(Bench(job_, io()), 0) << Err();
  const std::string table = Out();
  EXPECT_THAT(table, HasSubstr("prefill, operation"));
  EXPECT_THAT(table, HasSubstr("decode, operation"));
  const auto profile =
      nlohmann::json::parse(testing::ReadAll(job_.json_path))["results"][0]["profile"];
  const auto find = [&](const char* phase, const std::string& op) {
    nlohmann::json sum = {{"calls", 0}, {"flops", 0.0}, {"bytes", 0.0}};
    for (const auto& line : profile[phase]) {
      if (line["op"].get<std::string>().rfind(op, 0) != 0) continue;
      EXPECT_GT(line["seconds"], 0.0);
      sum["calls"] = sum["calls"].get<int>() + line["calls"].get<int>();
      sum["flops"] = sum["flops"].get<double>() + line["flops"].get<double>();
    }
    return sum;
  };
  const auto engine = OpenEngine(job_.engine);
  ASSERT_TRUE(engine.ok());
  const ModelConfig c = (*engine)->info().config;
  // 100 rows by every weight of a layer but the vocabulary's, and every pair of attention, once.
  const double q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
  const double weights = c.width * (2.0 * q + 2.0 * kv + 3.0 * c.ffn_width);
  double products = 0;
  for (const char* op : {"NormMatMul", "MatMulAdd", "FeedForward"}) {
    products += find("prefill", op)["flops"].get<double>();
  }
  EXPECT_EQ(products, 2.0 * 100 * c.layers * weights);
  EXPECT_EQ(find("prefill", "PrefillAttention")["flops"], 4.0 * q * c.layers * 100 * 101 / 2);
  // The first token is the prompt's: three steps of decoding, a row each.
  EXPECT_EQ(find("decode", "DecodeAttention")["calls"], 3 * c.layers);
  EXPECT_EQ(find("decode", "DecodeAttention")["flops"], 4.0 * q * c.layers * (101 + 102 + 103));
  EXPECT_EQ(find("decode", "DecodeMatMul")["flops"],
            2.0 * 3 * (c.layers * weights + double(c.width) * c.vocab_size));
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
