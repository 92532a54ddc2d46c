// tokenizer.json and what lies beside it: the forms it comes in, and what is told about the rest.
#include <random>
#include <string>

#include "engine/hf_json.h"
#include "engine/hf_tokenizer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/model_test_files.h"

namespace skipserve {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kGolden = std::string(SKIPSERVE_SOURCE_DIR) + "/tests/golden/tiny/";

HfConfig Config() {
  HfConfig config;
  config.model.vocab_size = 320;
  return config;
}

absl::StatusOr<TokenizerSpec> Parse(const Json& tokenizer, const std::string& settings = "",
                                    const std::string& chat = "") {
  return ParseHfTokenizer({tokenizer.dump(), settings, chat}, Config());
}

std::string ErrorOf(const Json& tokenizer, const std::string& settings = "") {
  const auto spec = Parse(tokenizer, settings);
  return spec.ok() ? "no error" : std::string(spec.status().message());
}

class HfTokenizer : public testing::Test {
 protected:
  static Json Golden(const std::string& kind) {
    return *ParseJson(ReadWholeFile(kGolden + kind + "hf/tokenizer.json"));
  }
  Json plain_ = Golden(""), llama3_ = Golden("llama3/"), qwen2_ = Golden("qwen2/");
};

TEST_F(HfTokenizer, MergesComeAsPairsOrAsTexts) {
  const auto pairs = Parse(plain_);
  ASSERT_TRUE(pairs.ok()) << pairs.status();
  for (Json& merge : plain_["model"]["merges"]) {
    merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  }
  const auto texts = Parse(plain_);
  ASSERT_TRUE(texts.ok()) << texts.status();
  EXPECT_EQ(texts->merges, pairs->merges);
  EXPECT_EQ(texts->merges.size(), 61u);
  for (const Json& wrong : {Json("ab"), Json(" b"), Json("a "), Json(1), Json({"a"}),
                            Json({"a", "b", "c"}), Json({"a", 1})}) {
    plain_["model"]["merges"][3] = wrong;
    EXPECT_THAT(ErrorOf(plain_), HasSubstr("model.merges is no pair"));
  }
}

TEST_F(HfTokenizer, AddedTokensAndGaps) {
  plain_["model"]["vocab"].erase("a");
  const int gap = Golden("")["model"]["vocab"]["a"];
  plain_["added_tokens"].push_back({{"id", 319}, {"content", "<tool>"}, {"special", false}});
  for (auto it = plain_["model"]["vocab"].begin(); it != plain_["model"]["vocab"].end(); ++it) {
    if (it.value() == 319) {
      plain_["model"]["vocab"].erase(it);
      break;
    }
  }
  HfConfig config = Config();
  config.model.vocab_size = 322;
  const auto spec = ParseHfTokenizer({plain_.dump(), "", ""}, config);
  ASSERT_TRUE(spec.ok()) << spec.status();
  using Kind = TokenizerSpec::TokenKind;
  EXPECT_EQ(spec->tokens.size(), 322u);
  EXPECT_EQ(spec->kinds[0], Kind::kSpecial);
  EXPECT_EQ(spec->tokens[319], "<tool>");
  EXPECT_EQ(spec->kinds[319], Kind::kUserDefined);
  EXPECT_EQ(spec->kinds[static_cast<size_t>(gap)], Kind::kUnused);
  EXPECT_EQ(spec->tokens[321], "[PAD321]");
  EXPECT_EQ(spec->kinds[321], Kind::kUnused);
  EXPECT_THAT(
      ErrorOf(*ParseJson(R"({"model":{"vocab":{"a":0,"b":0},"merges":[]},"pre_tokenizer":null})")),
      HasSubstr("both have the id 0"));
  plain_["model"]["vocab"]["zzz"] = 320;
  EXPECT_THAT(ErrorOf(plain_), HasSubstr("token 'zzz' has no id in 0 .. 319"));
}

// A template's eos_token is the declared one; every token that ends a turn ends an answer.
TEST_F(HfTokenizer, EndToken) {
  HfConfig config = Config();
  const auto parse = [&](const std::string& settings) {
    return *ParseHfTokenizer({plain_.dump(), settings, ""}, config);
  };
  EXPECT_EQ(parse(R"({"eos_token": "<|im_end|>"})").eos_id, 2);
  config.eos_ids = {5, 4};
  EXPECT_EQ(parse("{}").eos_id, 5) << "the first of config.json's";
  TokenizerSpec spec = parse(R"({"eos_token": "<|im_end|>"})");
  EXPECT_EQ(spec.eos_id, 2);
  EXPECT_THAT(spec.eos_ids, ElementsAre(0, 2, 4, 5));
}

TEST_F(HfTokenizer, BeginningToken) {
  auto spec = Parse(llama3_);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_TRUE(spec->add_bos);
  EXPECT_EQ(spec->bos_id, 0);
  spec = Parse(llama3_, R"({"add_bos_token": false, "bos_token": {"content": "<|im_start|>"}})");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_FALSE(spec->add_bos);
  spec = Parse(plain_, R"({"add_bos_token": true, "bos_token": {"content": "<|im_start|>"}})");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_TRUE(spec->add_bos);
  EXPECT_EQ(spec->bos_id, 1);
  EXPECT_THAT(ErrorOf(plain_, R"({"add_bos_token": true})"), HasSubstr("names none"));
  EXPECT_THAT(ErrorOf(plain_, R"({"bos_token": "<none>"})"), HasSubstr("not in the vocabulary"));
  EXPECT_THAT(ErrorOf(plain_, R"({"eos_token": 3})"), HasSubstr("'eos_token' must be a token"));
  auto& single = llama3_["post_processor"]["processors"][1]["single"];
  single.push_back({{"SpecialToken", {{"id", "<|im_end|>"}, {"type_id", 0}}}});
  EXPECT_THAT(ErrorOf(llama3_), HasSubstr("post_processor adds '<|im_end|>'"));
}

TEST_F(HfTokenizer, ChatTemplates) {
  EXPECT_EQ(Parse(plain_, R"({"chat_template": "A"})")->chat_template, "A");
  EXPECT_EQ(Parse(plain_, R"({"chat_template": "A"})", "B")->chat_template, "B");
  EXPECT_EQ(Parse(plain_, R"({"chat_template": [{"name": "tool_use", "template": "T"},
                                                {"name": "default", "template": "D"}]})")
                ->chat_template,
            "D");
  EXPECT_EQ(Parse(plain_, R"({"chat_template": [{"name": "x", "template": "T"}]})")->chat_template,
            "T");
  EXPECT_THAT(ErrorOf(plain_, R"({"chat_template": 3})"), HasSubstr("'chat_template'"));
  EXPECT_THAT(ErrorOf(plain_, R"({"chat_template": [3]})"), HasSubstr("'name' is missing"));
  EXPECT_FALSE(Parse(plain_, "", "\xff").ok());
}

TEST_F(HfTokenizer, PreTokenizers) {
  EXPECT_EQ(Parse(qwen2_)->split_patterns.size(), 1u);
  EXPECT_TRUE(Parse(qwen2_)->nfc);
  plain_["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", true}};
  auto spec = Parse(plain_);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_TRUE(spec->add_prefix_space);
  EXPECT_FALSE(spec->split_digits_alone);
  EXPECT_EQ(spec->split_patterns.size(), 1u);
  const auto with = [&](const std::string& pre) {
    plain_["pre_tokenizer"] = *ParseJson(pre);
    return ErrorOf(plain_);
  };
  EXPECT_THAT(with("null"), HasSubstr("no pre_tokenizer"));
  EXPECT_THAT(with(R"({"type":"Metaspace"})"), HasSubstr("'Metaspace' is not supported"));
  EXPECT_THAT(with(R"({"type":"Sequence","pretokenizers":[]})"), HasSubstr("empty Sequence"));
  EXPECT_THAT(with(R"({"type":"Sequence","pretokenizers":[{"type":"Digits",
                       "individual_digits":true}]})"),
              HasSubstr("lacks ByteLevel"));
  EXPECT_THAT(with(R"({"type":"Digits","individual_digits":false})"), HasSubstr("Digits"));
  EXPECT_THAT(with(R"({"type":"Split","pattern":{"String":" "},"behavior":"Isolated"})"),
              HasSubstr("must be a Regex"));
  EXPECT_THAT(with(R"({"type":"Split","pattern":{"Regex":" "},"behavior":"Removed"})"),
              HasSubstr("'Removed'"));
  plain_ = Golden("");
  plain_["normalizer"] = {{"type", "Lowercase"}};
  EXPECT_THAT(ErrorOf(plain_), HasSubstr("normalizer 'Lowercase'"));
  plain_["normalizer"] = *ParseJson(R"({"type":"Sequence","normalizers":[{"type":"NFC"}]})");
  EXPECT_TRUE(Parse(plain_)->nfc);
}

TEST_F(HfTokenizer, OtherModelsAreRefused) {
  plain_["model"]["type"] = "Unigram";
  EXPECT_THAT(ErrorOf(plain_), HasSubstr("'Unigram'"));
  plain_["model"]["type"] = "BPE";
  plain_["model"]["byte_fallback"] = true;
  EXPECT_THAT(ErrorOf(plain_), HasSubstr("byte_fallback"));
  EXPECT_THAT(ErrorOf(Json::object()), HasSubstr("it has no model"));
  EXPECT_THAT(ErrorOf(Json::array()), HasSubstr("it has no model"));
}

TEST_F(HfTokenizer, NoTruncationOrChangeOfBytesCrashes) {
  // Few tokens, so that the changes fall on the structure.
  Json small = llama3_;
  small["model"]["vocab"] = {{"a", 3}, {"b", 4}, {"ab", 5}};
  small["model"]["merges"] = Json::array({Json::array({"a", "b"})});
  const std::string good = small.dump();
  ASSERT_TRUE(Parse(small).ok()) << Parse(small).status();
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(ParseHfTokenizer({good.substr(0, size), "", ""}, Config()).ok()) << size;
  }
  std::mt19937 rng(23);
  const std::string settings = R"({"bos_token":"<|im_start|>","chat_template":[{"name":"a",)"
                               R"("template":"b"}],"add_bos_token":true})";
  for (int i = 0; i < 4000; ++i) {
    const std::string tokenizer = Corrupt(good, good.size(), &rng);
    const auto spec =
        ParseHfTokenizer({tokenizer, Corrupt(settings, settings.size(), &rng), "chat"}, Config());
    if (spec.ok()) {
      EXPECT_EQ(spec->tokens.size(), 320u);
    }
    ParseHfTokenizer({good, Corrupt(settings, settings.size(), &rng), ""}, Config()).IgnoreError();
  }
  EXPECT_THAT(Parse(small)->eos_ids, ElementsAre(0, 2));
}

}  // namespace
}  // namespace skipserve
