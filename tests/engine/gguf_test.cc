// GGUF files: what a good one gives, what each kind of wrong one is told, and that no file at all
// can crash the loader. Damaged files are held in exact heap buffers, so that a sanitizer sees a
// read past the end.
#include "engine/gguf.h"

#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "engine/gguf_model.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/model_test_files.h"

namespace skipserve {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// Opens a copy on the heap that has not a byte more.
absl::StatusOr<std::unique_ptr<ModelFile>> Open(const std::string& bytes) {
  auto copy = std::make_shared<std::vector<char>>(bytes.begin(), bytes.end());
  return OpenGguf("small.gguf", absl::string_view(copy->data(), copy->size()), copy);
}

std::string ErrorOf(const std::string& bytes) {
  const auto model = Open(bytes);
  if (model.ok()) return "no error";
  EXPECT_EQ(model.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(model.status().message()), StartsWith("small.gguf: "));
  return std::string(model.status().message());
}

// SmallGguf with one metadata key put before the others' own; a later key of that name is an error,
// so this only adds.
template <typename T>
std::string SmallWith(const std::string& key, const T& value) {
  GgufBuilder b = SmallGguf();
  b.Add(key, value);
  return b.Build();
}

std::string Replace(std::string bytes, const std::string& from, const std::string& to) {
  const size_t at = bytes.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  EXPECT_EQ(from.size(), to.size());
  return bytes.replace(at, from.size(), to);
}

TEST(Gguf, OpensASmallModel) {
  const auto model = Open(SmallGguf().Build());
  ASSERT_TRUE(model.ok()) << model.status();
  const ModelConfig& c = (*model)->config();
  EXPECT_EQ(c.architecture, "llama");
  EXPECT_EQ(c.name, "small");
  EXPECT_EQ(c.head_dim, 16);
  EXPECT_EQ(c.vocab_size, 4);
  EXPECT_EQ(c.rope_theta, 10000.0);
  EXPECT_TRUE(c.tied_embeddings);
  const TokenizerSpec& t = (*model)->tokenizer();
  EXPECT_THAT(t.tokens, ElementsAre("<|endoftext|>", "a", "b", "ab"));
  EXPECT_THAT(t.merges, ElementsAre(std::make_pair("a", "b")));
  EXPECT_THAT(t.eos_ids, ElementsAre(0));
  EXPECT_EQ(t.bos_id, -1);
  ReadEverything(**model);
  EXPECT_EQ((*model)->Tensor("lm_head.weight").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ((*model)->Tensor("rope_freqs.weight").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ((*model)->Tensor("").status().code(), absl::StatusCode::kNotFound);
  GgufBuilder v2 = SmallGguf();
  v2.version = 2;
  EXPECT_TRUE(Open(v2.Build()).ok());
}

TEST(Gguf, RowsOfQAndKComeHalfRotatedAndOthersAsTheyAre) {
  const std::string bytes = SmallGguf().Build();
  const auto model = Open(bytes);
  ASSERT_TRUE(model.ok()) << model.status();
  const auto file = ParseGguf(bytes);
  ASSERT_TRUE(file.ok());
  const auto raw = [&](const std::string& name) {
    return *MakeWeightSource(name, file->tensors.at(name), 0);
  };
  const WeightSource q = *(*model)->Tensor("model.layers.0.self_attn.q_proj.weight");
  for (int64_t row = 0; row < 32; ++row) {
    const int64_t in_head = row % 16;
    const int64_t in_file = row - in_head + 2 * (in_head % 8) + in_head / 8;
    EXPECT_EQ(ReadRows(q, row, 1), ReadRows(raw("blk.0.attn_q.weight"), in_file, 1)) << row;
  }
  // A run of rows that crosses heads is the same rows one by one.
  const std::vector<float> run = ReadRows(q, 5, 20);
  for (int64_t row = 0; row < 20; ++row) {
    EXPECT_EQ(ReadRows(q, 5 + row, 1),
              std::vector<float>(run.begin() + row * 32, run.begin() + (row + 1) * 32));
  }
  EXPECT_EQ(ReadTensor(**model, "model.layers.0.self_attn.v_proj.weight"),
            ReadRows(raw("blk.0.attn_v.weight"), 0, 16));
}

TEST(Gguf, ReadsTheOptionalKeys) {
  GgufBuilder b = SmallGguf();
  b.Add("llama.rope.freq_base", 5000.0f);
  b.Add("llama.rope.scaling.type", "linear");
  b.Add("llama.rope.scaling.factor", 4.0f);
  b.Add("llama.rope.scaling.original_context_length", uint32_t{16});
  b.Add("llama.rope.dimension_count", uint32_t{16});
  b.Add("llama.vocab_size", uint32_t{4});
  b.Add("tokenizer.ggml.bos_token_id", uint32_t{1});
  b.Add("tokenizer.ggml.eot_token_id", uint32_t{2});
  b.Add("tokenizer.ggml.eom_token_id", uint32_t{0xffffffff});
  b.Add("tokenizer.chat_template", "{{ messages }}");
  b.AddTensor("output.weight", {32, 4}, 1, std::string(32 * 4 * 2, '\x01'));
  b.AddTensor("rope_freqs.weight", {8}, 0, std::string(32, '\x3f'));
  const auto model = Open(b.Build());
  ASSERT_TRUE(model.ok()) << model.status();
  const ModelConfig& c = (*model)->config();
  EXPECT_EQ(c.rope_theta, 5000.0);
  EXPECT_EQ(c.rope_scaling.kind, RopeScaling::Kind::kLinear);
  EXPECT_EQ(c.rope_scaling.factor, 4.0);
  EXPECT_EQ(c.rope_scaling.original_max_positions, 16);
  EXPECT_FALSE(c.tied_embeddings);
  EXPECT_EQ((*model)->tokenizer().bos_id, 1);
  EXPECT_THAT((*model)->tokenizer().eos_ids, ElementsAre(0, 2));
  EXPECT_EQ((*model)->tokenizer().chat_template, "{{ messages }}");
  EXPECT_EQ(ReadTensor(**model, "rope_freqs.weight").size(), 8u);
  EXPECT_EQ(ReadTensor(**model, "lm_head.weight").size(), 128u);
}

TEST(Gguf, SaysWhatIsWrongWithTheContainer) {
  const std::string good = SmallGguf().Build();
  EXPECT_THAT(ErrorOf(""), HasSubstr("not a GGUF file"));
  EXPECT_THAT(ErrorOf("GGML" + good.substr(4)), HasSubstr("not a GGUF file"));
  GgufBuilder b = SmallGguf();
  b.version = 1;
  EXPECT_THAT(ErrorOf(b.Build()), HasSubstr("GGUF version 1 is not supported"));
  b.version = 0x03000000;
  EXPECT_THAT(ErrorOf(b.Build()), HasSubstr("big-endian"));
  b = SmallGguf();
  b.tensor_count = uint64_t{1} << 60;
  EXPECT_THAT(ErrorOf(b.Build()), HasSubstr("announces 1152921504606846976"));
  b = SmallGguf();
  b.pair_count = ~uint64_t{0};
  EXPECT_THAT(ErrorOf(b.Build()), HasSubstr("announces 18446744073709551615 keys"));
  EXPECT_THAT(ErrorOf(SmallWith("general.name", std::string("again"))),
              HasSubstr("general.name appears twice"));
  EXPECT_THAT(ErrorOf(SmallWith("general.alignment", uint32_t{48})), HasSubstr("power of two"));
  EXPECT_THAT(ErrorOf(SmallWith("general.alignment", 1.5f)), HasSubstr("must be one integer"));
}

TEST(Gguf, SaysWhatIsWrongWithATensor) {
  const auto with = [](const std::vector<uint64_t>& shape, uint32_t type, uint64_t offset) {
    GgufBuilder b = SmallGguf();
    b.AddTensorAt("extra", shape, type, offset);
    return ErrorOf(b.Build());
  };
  EXPECT_THAT(with({256}, 10, 0), AllOf(HasSubstr("extra is of type Q2_K (10)"),
                                        HasSubstr("convert the model to one of")));
  EXPECT_THAT(with({32}, 999, 0), HasSubstr("of type unknown (999)"));
  EXPECT_THAT(with({33}, 2, 0), HasSubstr("no whole number of Q4_0 blocks"));
  EXPECT_THAT(with({32, 0}, 0, 0), HasSubstr("a dimension is 0"));
  EXPECT_THAT(with({}, 0, 0), HasSubstr("0 dimensions"));
  EXPECT_THAT(with({1, 1, 1, 1, 1}, 0, 0), HasSubstr("5 dimensions"));
  EXPECT_THAT(with({~uint64_t{0}, 1}, 0, 0), HasSubstr("a dimension is -1"));
  EXPECT_THAT(with({uint64_t{1} << 32, uint64_t{1} << 32}, 0, 0), HasSubstr("impossibly large"));
  EXPECT_THAT(with({uint64_t{1} << 61}, 0, 0), HasSubstr("impossibly large"));
  EXPECT_THAT(with({uint64_t{1} << 50}, 0, 0), HasSubstr("the file ends within extra"));
  EXPECT_THAT(with({8}, 0, ~uint64_t{31}), HasSubstr("the file ends within extra"));
  EXPECT_THAT(with({8}, 0, 4), HasSubstr("not aligned to 32"));
  EXPECT_THAT(with({8}, 0, 32), HasSubstr("overlap"));
  GgufBuilder twice = SmallGguf();
  twice.AddTensor("output_norm.weight", {32}, 0, std::string(128, '\0'));
  EXPECT_THAT(ErrorOf(twice.Build()), HasSubstr("output_norm.weight appears twice"));
}

TEST(Gguf, SaysWhatIsWrongWithTheModel) {
  const std::string good = SmallGguf().Build();
  EXPECT_THAT(ErrorOf(Replace(good, "llama", "gemma")), HasSubstr("'gemma' is not supported"));
  EXPECT_THAT(ErrorOf(Replace(good, "block_count", "block_xount")),
              HasSubstr("llama.block_count is missing"));
  EXPECT_THAT(ErrorOf(SmallWith("llama.vocab_size", uint32_t{5})), HasSubstr("has 4 rows"));
  EXPECT_THAT(ErrorOf(SmallWith("llama.attention.key_length", uint32_t{8})),
              HasSubstr("q_proj.weight is [32, 32], but the model's shape needs [16, 32]"));
  EXPECT_THAT(ErrorOf(SmallWith("llama.rope.dimension_count", uint32_t{8})),
              HasSubstr("rope.dimension_count is 8"));
  EXPECT_THAT(ErrorOf(SmallWith("llama.rope.scaling.type", std::string("yarn"))),
              HasSubstr("'yarn'"));
  EXPECT_THAT(ErrorOf(SmallWith("llama.expert_count", uint32_t{8})), HasSubstr("expert_count"));
  EXPECT_THAT(ErrorOf(SmallWith("llama.rope.freq_base", std::nanf(""))), HasSubstr("rope_theta"));
  EXPECT_THAT(ErrorOf(Replace(good, "blk.0.attn_v.weight", "blk.0.attn_x.weight")),
              HasSubstr("v_proj.weight is not in the model file"));
  GgufBuilder bias = SmallGguf();
  bias.AddTensor("blk.0.attn_output.bias", {32}, 0, std::string(128, '\0'));
  EXPECT_THAT(ErrorOf(bias.Build()), HasSubstr("blk.0.attn_output.bias"));
  GgufBuilder divisors = SmallGguf();
  divisors.AddTensor("rope_freqs.weight", {8}, 0, std::string(32, '\0'));
  EXPECT_THAT(ErrorOf(divisors.Build()), HasSubstr("rope_freqs.weight holds 0"));
}

TEST(Gguf, SaysWhatIsWrongWithTheTokenizer) {
  const std::string good = SmallGguf().Build();
  EXPECT_THAT(ErrorOf(Replace(good, "gpt2", "bert")), HasSubstr("byte-level BPE"));
  EXPECT_THAT(ErrorOf(Replace(good, "ggml.pre", "ggml.prx")), HasSubstr("no error"));
  EXPECT_THAT(ErrorOf(Replace(good, "a b", "a_b")), HasSubstr("entry 0 of tokenizer.ggml.merges"));
  EXPECT_THAT(ErrorOf(Replace(good, "<|endof", "\xff|endof")), HasSubstr("not UTF-8"));
  EXPECT_THAT(ErrorOf(SmallWith("tokenizer.ggml.bos_token_id", uint32_t{4})),
              HasSubstr("the vocabulary has 4 tokens"));
  EXPECT_THAT(ErrorOf(Replace(good, "token_type", "token_typx")), HasSubstr("no error"));
}

TEST(Gguf, EveryTruncationIsAnErrorAndNoCrash) {
  const std::string good = SmallGguf().Build();
  for (size_t size = 0; size < good.size(); ++size) {
    ASSERT_NE(ErrorOf(good.substr(0, size)), "no error") << size;
  }
}

TEST(Gguf, NoChangeOfBytesCrashes) {
  const std::string good = SmallGguf().Build();
  const size_t descriptions = good.find("blk.0.ffn_down.weight") + 64;
  std::mt19937 rng(17);
  int opened = 0;
  for (int i = 0; i < 20000; ++i) {
    const auto model = Open(Corrupt(good, i % 4 == 0 ? good.size() : descriptions, &rng));
    if (!model.ok()) continue;
    ++opened;
    ReadEverything(**model);
  }
  EXPECT_GT(opened, 100);
}

}  // namespace
}  // namespace skipserve
