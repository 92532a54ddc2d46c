// Hugging Face folders: the forms their JSON comes in, what each kind of wrong file is told, and
// that no bytes at all can crash a parser.
#include "engine/hf_folder.h"

#include <unistd.h>

#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_replace.h"
#include "engine/hf_config.h"
#include "engine/hf_tokenizer.h"
#include "engine/safetensors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/model_test_files.h"

namespace skipserve {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kGolden = std::string(SKIPSERVE_SOURCE_DIR) + "/tests/golden/tiny/";

// A copy of a golden folder that a test may spoil.
class HfFolder : public testing::Test {
 protected:
  void Use(const std::string& kind) {
    static int count = 0;
    folder_ = testing::TempDir() + "hf_folder_test_" + std::to_string(getpid()) + "_" +
              std::to_string(count++);
    fs::remove_all(folder_);
    fs::copy(kGolden + kind, folder_);
  }
  void TearDown() override {
    if (!folder_.empty()) fs::remove_all(folder_);
  }
  std::string Path(const std::string& name) const { return folder_ + "/" + name; }
  void Edit(const std::string& name, const std::string& from, const std::string& to) const {
    const std::string text = ReadWholeFile(Path(name));
    EXPECT_NE(text.find(from), std::string::npos) << from;
    WriteWholeFile(Path(name), absl::StrReplaceAll(text, {{from, to}}));
  }
  std::string Error() const {
    const auto model = OpenHfFolder(folder_);
    return model.ok() ? "no error" : std::string(model.status().message());
  }

  std::string folder_;
};

TEST_F(HfFolder, MissingFilesAreNamed) {
  for (const std::string name : {"config.json", "tokenizer.json", "model.safetensors"}) {
    Use("hf");
    fs::remove(Path(name));
    EXPECT_THAT(Error(), HasSubstr(name));
    EXPECT_EQ(OpenHfFolder(folder_).status().code(), absl::StatusCode::kNotFound);
    TearDown();
  }
  Use("hf");
  for (const std::string name :
       {"generation_config.json", "tokenizer_config.json", "chat_template.jinja"}) {
    fs::remove(Path(name));
  }
  const auto model = OpenHfFolder(folder_ + "//");
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->tokenizer().chat_template, "");
  EXPECT_EQ((*model)->config().name, fs::path(folder_).filename());
}

TEST_F(HfFolder, AnIndexMayNotLeadElsewhere) {
  const std::string index = "model.safetensors.index.json", shard = "model-00001-of-00003";
  for (const std::string to : {"../x", ".x", "/etc/x", "x\\u0000y"}) {
    Use("llama3/hf");
    Edit(index, shard, to);
    EXPECT_THAT(Error(), AllOf(HasSubstr(index), HasSubstr("no name of a safetensors file")));
    TearDown();
  }
  Use("llama3/hf");
  Edit(index, shard, "model-00002-of-00003");
  EXPECT_THAT(Error(), HasSubstr("do not belong together"));
  TearDown();
  Use("llama3/hf");
  fs::remove(Path(shard + ".safetensors"));
  EXPECT_THAT(Error(), HasSubstr(shard));
  TearDown();
  Use("llama3/hf");
  Edit(index, "\"weight_map\": {", "\"weight_map\": 1, \"x\": {");
  EXPECT_THAT(Error(), HasSubstr("'weight_map' must be an object"));
}

TEST_F(HfFolder, WeightsMustFitTheConfig) {
  Use("hf");
  Edit("config.json", "\"intermediate_size\": 160", "\"intermediate_size\": 161");
  EXPECT_THAT(Error(), HasSubstr("is [160, 48], but the model's shape needs [161, 48]"));
  TearDown();
  Use("hf");
  Edit("config.json", "\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false");
  EXPECT_THAT(Error(), HasSubstr("lm_head.weight is not in"));
  TearDown();
  // A tied model does not use a head that the file has all the same.
  Use("llama3/hf");
  Edit("config.json", "\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true");
  const auto model = OpenHfFolder(folder_);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_FALSE((*model)->Tensor("lm_head.weight").ok());
  TearDown();
  Use("hf");
  Edit("model.safetensors", "\"dtype\":\"BF16\"", "\"dtype\":\"I16\" ");
  EXPECT_THAT(Error(), HasSubstr("of type I16, but only F32, F16 and BF16"));
}

TEST(HfConfig, OldAndNewFormsOfRope) {
  const std::string text = ReadWholeFile(kGolden + "llama3/hf/config.json");
  Json json = *ParseJson(text);
  Json rope = json["rope_parameters"];
  json.erase("rope_parameters");
  rope.erase("rope_theta");
  json["rope_theta"] = 5000;
  json["rope_scaling"] = rope;
  auto config = ParseHfConfig(json.dump(), "");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->model.rope_theta, 5000.0);
  EXPECT_EQ(config->model.rope_scaling.kind, RopeScaling::Kind::kLlama3);
  json["rope_scaling"] = {{"type", "linear"}, {"factor", 2}};
  config = ParseHfConfig(json.dump(), "");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->model.rope_scaling.kind, RopeScaling::Kind::kLinear);
  EXPECT_EQ(config->model.rope_scaling.factor, 2.0);
  json["rope_scaling"] = nullptr;
  EXPECT_TRUE(ParseHfConfig(json.dump(), "").ok());
  json["rope_scaling"] = {{"type", "dynamic"}, {"factor", 2}};
  EXPECT_THAT(std::string(ParseHfConfig(json.dump(), "").status().message()),
              HasSubstr("'dynamic' is not supported"));
}

TEST(HfConfig, OptionalKeysAndEosLists) {
  Json json = *ParseJson(ReadWholeFile(kGolden + "qwen2/hf/config.json"));
  json.erase("num_key_value_heads");
  json.erase("bos_token_id");
  json["eos_token_id"] = {5, 7};
  const auto config = ParseHfConfig(json.dump(), R"({"eos_token_id": [7, 9]})");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->model.kv_heads, 2);
  EXPECT_EQ(config->model.head_dim, 16);
  EXPECT_TRUE(config->model.qkv_bias);
  EXPECT_EQ(config->bos_id, -1);
  EXPECT_THAT(config->eos_ids, ElementsAre(5, 7, 7, 9));
}

TEST(HfConfig, SaysWhatIsWrong) {
  const Json good = *ParseJson(ReadWholeFile(kGolden + "hf/config.json"));
  const auto error = [&](const std::string& key, const Json& value) {
    Json json = good;
    json[key] = value;
    const auto config = ParseHfConfig(json.dump(), "");
    return config.ok() ? std::string("no error") : std::string(config.status().message());
  };
  EXPECT_THAT(error("architectures", {"MistralForCausalLM"}), HasSubstr("MistralForCausalLM"));
  EXPECT_THAT(error("architectures", "LlamaForCausalLM"), HasSubstr("'architectures'"));
  EXPECT_THAT(error("hidden_size", "48"), HasSubstr("'hidden_size' must be a whole number"));
  EXPECT_THAT(error("hidden_size", 48.5), HasSubstr("'hidden_size'"));
  EXPECT_THAT(error("hidden_size", -48), HasSubstr("'hidden_size'"));
  EXPECT_THAT(error("hidden_size", uint64_t{1} << 63), HasSubstr("'hidden_size'"));
  EXPECT_THAT(error("hidden_size", nullptr), HasSubstr("'hidden_size' is missing"));
  EXPECT_THAT(error("num_attention_heads", 0), HasSubstr("no error"));  // ValidateConfig's
  EXPECT_THAT(error("head_dim", nullptr), HasSubstr("no error"));
  EXPECT_THAT(error("rms_norm_eps", "x"), HasSubstr("'rms_norm_eps'"));
  EXPECT_THAT(error("hidden_act", "gelu"), HasSubstr("only silu"));
  EXPECT_THAT(error("attention_bias", true), HasSubstr("'attention_bias' true"));
  EXPECT_THAT(error("attention_bias", 1), HasSubstr("must be true or false"));
  EXPECT_THAT(error("quantization_config", Json::object()), HasSubstr("quantized"));
  EXPECT_THAT(error("layer_types", {"sliding_attention"}), HasSubstr("full_attention"));
  EXPECT_THAT(error("eos_token_id", {1, "x"}), HasSubstr("'eos_token_id'"));
  EXPECT_THAT(error("rope_parameters", 3), HasSubstr("must be an object"));
  EXPECT_FALSE(ParseHfConfig("[]", "").ok());
  EXPECT_FALSE(ParseHfConfig("", "").ok());
  EXPECT_FALSE(ParseHfConfig(good.dump(), "{").ok());
  EXPECT_TRUE(ParseHfConfig(good.dump(), "[]").ok());
}

TEST(HfConfig, NoTruncationOrChangeOfBytesCrashes) {
  const std::string good = ReadWholeFile(kGolden + "llama3/hf/config.json");
  const std::string bare = good.substr(0, good.rfind('}'));
  for (size_t size = 0; size <= bare.size(); ++size) {
    EXPECT_FALSE(ParseHfConfig(bare.substr(0, size), "").ok()) << size;
  }
  std::mt19937 rng(3);
  for (int i = 0; i < 20000; ++i) {
    const auto config = ParseHfConfig(Corrupt(good, good.size(), &rng), "");
    if (config.ok()) ValidateConfig(config->model).IgnoreError();
  }
}

TEST(Safetensors, NoTruncationOrChangeOfBytesCrashes) {
  const std::string good = ReadWholeFile(kGolden + "llama3/hf/model-00003-of-00003.safetensors");
  uint64_t header = 0;
  std::memcpy(&header, good.data(), sizeof(header));
  const auto parse = [](const std::string& bytes) {
    const std::vector<char> copy(bytes.begin(), bytes.end());  // not a byte more
    const auto file = ParseSafetensors(absl::string_view(copy.data(), copy.size()));
    if (!file.ok()) return false;
    for (const auto& [name, tensor] : file->tensors) {
      const auto source = MakeWeightSource(name, tensor, 0);
      if (source.ok()) ReadRows(*source, 0, source->out_features);
    }
    return true;
  };
  ASSERT_TRUE(parse(good));
  for (size_t size = 0; size < good.size(); size += size < header + 64 ? 1 : 97) {
    EXPECT_FALSE(parse(good.substr(0, size))) << size;
  }
  std::mt19937 rng(9);
  for (int i = 0; i < 20000; ++i) parse(Corrupt(good, header + 8, &rng));
}

TEST(Safetensors, SaysWhatIsWrong) {
  const auto error = [](const std::string& header, size_t data) {
    const uint64_t size = header.size();
    std::string bytes(reinterpret_cast<const char*>(&size), sizeof(size));
    bytes += header + std::string(data, 'x');
    const auto file = ParseSafetensors(bytes);
    return file.ok() ? std::string("no error") : std::string(file.status().message());
  };
  const auto entry = [](const std::string& shape, const std::string& offsets) {
    return R"({"a":{"dtype":"F32","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
  };
  EXPECT_THAT(error(entry("[2]", "[0,8]"), 8), HasSubstr("no error"));
  EXPECT_THAT(error("{}", 0), HasSubstr("no error"));
  EXPECT_THAT(error(R"({"__metadata__":{"format":"pt"}})", 0), HasSubstr("no error"));
  EXPECT_THAT(error("[]", 0), HasSubstr("no JSON object"));
  EXPECT_THAT(error("{", 0), HasSubstr("not valid JSON"));
  EXPECT_THAT(error(R"({"a":1})", 0), HasSubstr("tensor a: it has no dtype"));
  EXPECT_THAT(error(R"({"a":{"dtype":"Q9"}})", 0), HasSubstr("dtype 'Q9' is unknown"));
  EXPECT_THAT(error(entry("[2]", "[0,9]"), 8), HasSubstr("do not lie in the 8 bytes"));
  EXPECT_THAT(error(entry("[2]", "[8,0]"), 8), HasSubstr("do not lie in"));
  EXPECT_THAT(error(entry("[2]", "[-8,0]"), 8), HasSubstr("do not lie in"));
  EXPECT_THAT(error(entry("[2]", "[0]"), 8), HasSubstr("no pair"));
  EXPECT_THAT(error(entry("[3]", "[0,8]"), 8), HasSubstr("takes 12 bytes, its data_offsets 8"));
  EXPECT_THAT(error(entry("[-2]", "[0,8]"), 8), HasSubstr("a dimension is -2"));
  EXPECT_THAT(error(entry("[4294967296,4294967296]", "[0,8]"), 8), HasSubstr("impossibly large"));
  EXPECT_THAT(error(entry("[18446744073709551615]", "[0,8]"), 8), HasSubstr("whole numbers"));
  EXPECT_THAT(error(entry("[1,1,1,1,1,1,1,1,1]", "[0,4]"), 8), HasSubstr("at most 8"));
  EXPECT_THAT(error(entry("{}", "[0,4]"), 8), HasSubstr("its shape"));
  EXPECT_THAT(error(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                    R"("b":{"dtype":"F16","shape":[2],"data_offsets":[4,8]}})",
                    8),
              HasSubstr("tensors a and b overlap"));
  EXPECT_THAT(error(std::string(100000, '['), 0), HasSubstr("not valid JSON"));
  EXPECT_FALSE(ParseSafetensors("1234567").ok());
  EXPECT_FALSE(ParseSafetensors("\xff\xff\xff\xff\xff\xff\xff\xff").ok());
}

}  // namespace
}  // namespace skipserve
