// The same model from a GGUF file and from a Hugging Face folder is the same model: config, tokens,
// and every weight bit for bit. The files are the golden ones (tests/golden/make_tiny_model.py).
#include <cmath>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "engine/model_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/model_test_files.h"

namespace skipserve {
namespace {

using ::testing::ElementsAre;

std::unique_ptr<ModelFile> OpenGolden(const std::string& name) {
  auto model = ModelFile::Open(std::string(SKIPSERVE_SOURCE_DIR) + "/tests/golden/tiny/" + name);
  EXPECT_TRUE(model.ok()) << model.status();
  return model.ok() ? *std::move(model) : nullptr;
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// `kind` is empty or a folder's name with the slash.
class ModelFormats : public testing::TestWithParam<const char*> {
 protected:
  ModelFormats()
      : gguf_(OpenGolden(std::string(GetParam()) + "tiny.gguf")),
        hf_(OpenGolden(std::string(GetParam()) + "hf")) {}

  void SetUp() override { ASSERT_TRUE(gguf_ != nullptr && hf_ != nullptr); }

  std::unique_ptr<ModelFile> gguf_, hf_;
};

TEST_P(ModelFormats, TheConfigsAreEqual) {
  const ModelConfig &a = gguf_->config(), &b = hf_->config();
  EXPECT_EQ(a.architecture, b.architecture);
  EXPECT_EQ(a.layers, b.layers);
  EXPECT_EQ(a.width, b.width);
  EXPECT_EQ(a.ffn_width, b.ffn_width);
  EXPECT_EQ(a.heads, b.heads);
  EXPECT_EQ(a.kv_heads, b.kv_heads);
  EXPECT_EQ(a.head_dim, b.head_dim);
  EXPECT_EQ(a.vocab_size, b.vocab_size);
  EXPECT_EQ(a.max_positions, b.max_positions);
  EXPECT_EQ(a.norm_eps, b.norm_eps);
  EXPECT_EQ(a.rope_theta, b.rope_theta);
  EXPECT_EQ(a.tied_embeddings, b.tied_embeddings);
  EXPECT_EQ(a.qkv_bias, b.qkv_bias);
}

TEST_P(ModelFormats, TheTokenizersAreEqual) {
  const TokenizerSpec &a = gguf_->tokenizer(), &b = hf_->tokenizer();
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(a.kinds, b.kinds);
  EXPECT_EQ(a.merges, b.merges);
  EXPECT_EQ(a.split_patterns, b.split_patterns);
  EXPECT_EQ(a.split_digits_alone, b.split_digits_alone);
  EXPECT_EQ(a.add_prefix_space, b.add_prefix_space);
  EXPECT_EQ(a.ignore_merges, b.ignore_merges);
  EXPECT_EQ(a.nfc, b.nfc);
  EXPECT_EQ(a.add_bos, b.add_bos);
  EXPECT_EQ(a.bos_id, b.bos_id);
  EXPECT_EQ(a.eos_id, b.eos_id);
  EXPECT_EQ(a.eos_ids, b.eos_ids);
  EXPECT_EQ(a.chat_template, b.chat_template);
}

TEST_P(ModelFormats, TheWeightsAreEqualBitForBit) {
  for (const std::string& name : WeightNames(hf_->config())) {
    EXPECT_TRUE(SameBits(ReadTensor(*gguf_, name), ReadTensor(*hf_, name))) << name;
  }
  EXPECT_EQ(gguf_->Tensor("lm_head.weight").ok(), !gguf_->config().tied_embeddings);
  EXPECT_EQ(hf_->Tensor("lm_head.weight").ok(), !hf_->config().tied_embeddings);
}

TEST_P(ModelFormats, AWeightMayBeReadFromSeveralThreadsAtOnce) {
  const std::string name = "model.layers.1.self_attn.q_proj.weight";
  const WeightSource source = *gguf_->Tensor(name);
  const std::vector<float> whole = ReadTensor(*gguf_, name);
  std::vector<float> parts(whole.size());
  std::vector<std::thread> threads;
  for (int64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int64_t row = t; row < source.out_features; row += 4) {
        source.read(row, 1, parts.data() + row * source.in_features);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(SameBits(parts, whole));
}

INSTANTIATE_TEST_SUITE_P(Golden, ModelFormats, testing::Values("", "llama3/", "qwen2/", "linear/"));

TEST(ModelFormatsOnly, TheShapesAreWhatTheyWereMadeAs) {
  const auto plain = OpenGolden("hf"), llama3 = OpenGolden("llama3/hf");
  ASSERT_TRUE(plain != nullptr && llama3 != nullptr);
  EXPECT_EQ(plain->config().heads * plain->config().head_dim, 96);
  EXPECT_EQ(plain->config().width, 48);
  EXPECT_TRUE(plain->tokenizer().split_digits_alone);
  EXPECT_THAT(plain->tokenizer().eos_ids, ElementsAre(0, 2));
  EXPECT_EQ(plain->tokenizer().eos_id, 2) << "the declared one, not the lowest";
  EXPECT_EQ(plain->tokenizer().bos_id, 1);
  EXPECT_FALSE(plain->tokenizer().add_bos);
  EXPECT_TRUE(llama3->tokenizer().add_bos);
  EXPECT_TRUE(llama3->tokenizer().ignore_merges);
  EXPECT_TRUE(OpenGolden("qwen2/hf")->tokenizer().nfc);
}

TEST(ModelFormatsOnly, LinearRopeScalingIsReadFromBoth) {
  for (const char* file : {"linear/tiny.gguf", "linear/hf"}) {
    const auto model = OpenGolden(file);
    ASSERT_NE(model, nullptr);
    EXPECT_EQ(model->config().rope_scaling.kind, RopeScaling::Kind::kLinear) << file;
    EXPECT_EQ(model->config().rope_scaling.factor, 4.0) << file;
  }
}

// A folder gives the scaling as numbers, a GGUF file as the divisors that come of them.
TEST(ModelFormatsOnly, RopeDivisorsAreTheLlama3Scaling) {
  const auto gguf = OpenGolden("llama3/tiny.gguf"), hf = OpenGolden("llama3/hf");
  ASSERT_TRUE(gguf != nullptr && hf != nullptr);
  EXPECT_EQ(gguf->config().rope_scaling.kind, RopeScaling::Kind::kNone);
  EXPECT_FALSE(hf->Tensor("rope_freqs.weight").ok());
  const RopeScaling& s = hf->config().rope_scaling;
  ASSERT_EQ(s.kind, RopeScaling::Kind::kLlama3);
  EXPECT_EQ(s.factor, 8.0);
  EXPECT_EQ(s.original_max_positions, 64);
  const std::vector<float> divisors = ReadTensor(*gguf, "rope_freqs.weight");
  ASSERT_EQ(divisors.size(), 4u);
  const auto original = static_cast<double>(s.original_max_positions);
  for (size_t i = 0; i < divisors.size(); ++i) {
    const double wavelength =
        2 * M_PI * std::pow(hf->config().rope_theta, static_cast<double>(i) / 4);
    const double turns = original / wavelength;
    const double smooth = (turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
    const double expected = turns > s.high_freq_factor  ? 1.0
                            : turns < s.low_freq_factor ? s.factor
                                                        : 1 / ((1 - smooth) / s.factor + smooth);
    EXPECT_NEAR(divisors[i], expected, 1e-6 * expected) << i;
  }
}

TEST(ModelFormatsOnly, WhatIsNoModelIsSaidSo) {
  const std::string golden = std::string(SKIPSERVE_SOURCE_DIR) + "/tests/golden/";
  EXPECT_EQ(ModelFile::Open(golden + "none").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ModelFile::Open(golden).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ModelFile::Open(golden + "make_tiny_model.py").status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ModelFile::Open("/dev/null").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ModelFile::Open(golden + "tiny/hf/model.safetensors").status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace skipserve
