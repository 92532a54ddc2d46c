// The tokenizer against Hugging Face's ids, for every pre-tokenizer family and for the real SmolLM2
// vocabulary.
#include "engine/tokenizer.h"

#include <dlfcn.h>
#include <regex.h>
#include <stdlib.h>

#include <cstdlib>

#include "engine/model_file.h"
#include "gmock/gmock.h"
#include "tests/engine/tokenizer_goldens.h"

namespace skipserve {
namespace {

using Ids = std::vector<int32_t>;
using TokenKind = TokenizerSpec::TokenKind;

// The small vocabularies of one byte-alphabet letter each, plus what a test adds.
TokenizerSpec LetterSpec() {
  TokenizerSpec spec;
  for (const char c : std::string("abcdefghij")) spec.tokens.emplace_back(1, c);
  spec.kinds.assign(spec.tokens.size(), TokenKind::kNormal);
  return spec;
}

void AddToken(TokenizerSpec* spec, const std::string& text, TokenKind kind) {
  spec->tokens.push_back(text);
  spec->kinds.push_back(kind);
}

class TokenizerFamilyTest : public testing::TestWithParam<std::string> {};

TEST_P(TokenizerFamilyTest, GivesHuggingFacesIds) {
  const nlohmann::json golden = ReadGolden("tokenizer/" + GetParam() + ".json");
  const auto tokenizer = MakeTokenizer(SpecOf(golden));
  ASSERT_NE(tokenizer, nullptr);
  ASSERT_EQ(golden["ids_trusted"].size(), GoldenTexts().size());
  for (size_t i = 0; i < GoldenTexts().size(); ++i) {
    const std::string& text = GoldenTexts()[i];
    EXPECT_EQ(tokenizer->Encode(text, true), golden["ids_trusted"][i].get<Ids>()) << text;
    EXPECT_EQ(tokenizer->Encode(text, false), golden["ids_untrusted"][i].get<Ids>()) << text;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, TokenizerFamilyTest, testing::ValuesIn(Families()),
                         [](const testing::TestParamInfo<std::string>& info) {
                           std::string name = info.param;
                           name.erase(std::remove(name.begin(), name.end(), '-'), name.end());
                           return name;
                         });

TEST(TokenizerTest, GivesHuggingFacesIdsWithTheVocabularyOfSmolLm2) {
  const char* path = std::getenv("SKIPSERVE_TEST_MODEL");
  if (path == nullptr) GTEST_SKIP() << "SKIPSERVE_TEST_MODEL does not name a SmolLM2 GGUF file";
  const auto model = ModelFile::Open(path);
  ASSERT_TRUE(model.ok()) << model.status();
  const auto tokenizer = MakeTokenizer((*model)->tokenizer());
  ASSERT_NE(tokenizer, nullptr);
  const nlohmann::json golden = ReadGolden("tokenizer/smollm2.json");
  for (size_t i = 0; i < GoldenTexts().size(); ++i) {
    const std::string& text = GoldenTexts()[i];
    const Ids ids = tokenizer->Encode(text, true);
    EXPECT_EQ(ids, golden["ids_trusted"][i].get<Ids>()) << text;
    EXPECT_EQ(tokenizer->Encode(text, false), golden["ids_untrusted"][i].get<Ids>()) << text;
    EXPECT_EQ(tokenizer->Decode(ids, true), golden["decoded"][i].get<std::string>()) << text;
  }
}

TEST(TokenizerTest, RefusesASpecThatContradictsItself) {
  const auto message = [](const TokenizerSpec& spec) {
    return std::string(Tokenizer::Create(spec).status().message());
  };
  TokenizerSpec spec = LetterSpec();
  EXPECT_TRUE(Tokenizer::Create(spec).ok());
  spec.kinds.pop_back();
  EXPECT_THAT(message(spec), testing::HasSubstr("kinds"));

  spec = LetterSpec();
  spec.merges = {{"a", "b"}};
  EXPECT_THAT(message(spec), testing::HasSubstr("merge 0"));
  AddToken(&spec, "ab", TokenKind::kSpecial);
  EXPECT_THAT(message(spec), testing::HasSubstr("special"));
  spec.kinds.back() = TokenKind::kNormal;
  EXPECT_TRUE(Tokenizer::Create(spec).ok());

  spec = LetterSpec();
  spec.split_patterns = {"(a"};
  EXPECT_THAT(message(spec), testing::HasSubstr("(a"));
  spec.split_patterns = {"\xff"};
  EXPECT_THAT(message(spec), testing::HasSubstr("UTF-8"));

  spec = LetterSpec();
  spec.bos_id = 10;
  EXPECT_THAT(message(spec), testing::HasSubstr("BOS"));
  spec.bos_id = 9;
  spec.eos_id = 10;
  EXPECT_THAT(message(spec), testing::HasSubstr("EOS"));
  spec.eos_id = -1;
  spec.eos_ids = {0, -2};
  EXPECT_THAT(message(spec), testing::HasSubstr("EOS"));
  TokenizerSpec unknown;
  EXPECT_EQ(SetPreTokenizer("no-such-family", &unknown).code(), absl::StatusCode::kInvalidArgument);
}

TEST(TokenizerTest, MergesTheLowestRankLeftmostFirst) {
  TokenizerSpec spec = LetterSpec();
  for (const char* text : {"bc", "ab", "aa", "aaa", "bcd"})
    AddToken(&spec, text, TokenKind::kNormal);
  spec.merges = {{"b", "c"}, {"a", "b"}, {"a", "a"}, {"aa", "a"}, {"bc", "d"}};
  const auto tokenizer = MakeTokenizer(spec);
  EXPECT_EQ(tokenizer->Encode("abcd", false), (Ids{0, 14}));
  EXPECT_EQ(tokenizer->Encode("abd", false), (Ids{11, 3}));
  EXPECT_EQ(tokenizer->Encode("aaaaa", false), (Ids{12, 13}));
  EXPECT_EQ(tokenizer->Encode("", true), Ids{});
  // No token for 'z': left out, and its neighbours meet.
  EXPECT_EQ(tokenizer->Encode("bzc", false), Ids{10});
}

TEST(TokenizerTest, TheLongPieceAlgorithmAgreesWithTheShortOne) {
  // Pieces on both sides of the change of algorithm: a piece twice as long, cut where no merge
  // crosses.
  const nlohmann::json golden = ReadGolden("tokenizer/gpt2.json");
  TokenizerSpec spec = SpecOf(golden);
  spec.split_patterns = {"[^|]+"};
  const auto cut = MakeTokenizer(spec);
  spec.split_patterns.clear();
  const auto whole = MakeTokenizer(spec);
  uint32_t state = 5;
  for (int round = 0; round < 200; ++round) {
    std::string text;
    for (int part = 0; part < 12; ++part) {
      for (int i = 0; i < 30; ++i) {
        state = state * 1664525u + 1013904223u;
        text += "ethrnaiso "[(state >> 16) % 10];
      }
      text += '|';  // in no merge of the golden's vocabulary
    }
    ASSERT_EQ(whole->Encode(text, false), cut->Encode(text, false)) << text;
  }
}

TEST(TokenizerTest, OverlongRunsStayOnePieceAndLoseNothing) {
  const auto tokenizer = FamilyTokenizer("qwen2");
  for (const char c : {'a', ' ', '!', '\n'}) {
    const std::string text(1 << 18, c);
    EXPECT_EQ(tokenizer->Decode(tokenizer->Encode(text, false), false), text);
  }
}

TEST(TokenizerTest, APatternThatGivesUpLosesNoText) {
  TokenizerSpec spec = LetterSpec();
  spec.split_patterns = {"(a|aa|b)+c$"};  // exponential on what does not end in c
  const auto tokenizer = MakeTokenizer(spec);
  const std::string text = "c" + std::string(60, 'a') + "d";
  const Ids ids = tokenizer->Encode(text, false);
  EXPECT_EQ(tokenizer->Decode(ids, false), text);
}

TEST(TokenizerTest, EmptyMatchesOfAPatternCutNothing) {
  TokenizerSpec spec = LetterSpec();
  AddToken(&spec, "ab", TokenKind::kNormal);
  AddToken(&spec, "bj", TokenKind::kNormal);
  spec.merges = {{"b", "j"}, {"a", "b"}};
  spec.split_patterns = {"j*"};  // matches nothing between letters, and the j itself
  EXPECT_EQ(MakeTokenizer(spec)->Encode("abcab", false), (Ids{10, 2, 10}));
  EXPECT_EQ(MakeTokenizer(spec)->Encode("abjab", false), (Ids{10, 9, 10}));
}

TEST(TokenizerTest, APrefixSpaceIsAddedWhereTheSpecAsks) {
  TokenizerSpec spec = LetterSpec();
  AddToken(&spec, "Ġ", TokenKind::kNormal);
  AddToken(&spec, "<x>", TokenKind::kSpecial);
  spec.add_prefix_space = true;
  const auto tokenizer = MakeTokenizer(spec);
  EXPECT_EQ(tokenizer->Encode("ab", true), (Ids{10, 0, 1}));
  EXPECT_EQ(tokenizer->Encode(" a<x>b", true), (Ids{10, 0, 11, 10, 1}));
}

TEST(TokenizerTest, AWholePieceIsNeverASpecialToken) {
  TokenizerSpec spec = LetterSpec();
  AddToken(&spec, "abc", TokenKind::kSpecial);
  AddToken(&spec, "bcd", TokenKind::kNormal);
  spec.ignore_merges = true;
  const auto tokenizer = MakeTokenizer(spec);
  EXPECT_EQ(tokenizer->Encode("abc", false), (Ids{0, 1, 2}));
  EXPECT_EQ(tokenizer->Encode("abc", true), Ids{10});
  EXPECT_EQ(tokenizer->Encode("bcd", false), Ids{11});
}

// The regular expression library has functions of the same names, which would break every other
// user of libc's.
TEST(TokenizerTest, PosixRegularExpressionsStayLibcs) {
  Dl_info where;  // libc, or a sanitizer in front of it
  ASSERT_NE(dladdr(reinterpret_cast<void*>(&regexec), &where), 0);
  EXPECT_EQ(std::string(where.dli_fname).find("onig"), std::string::npos) << where.dli_fname;
}

TEST(TokenizerTest, KnowsItsTokens) {
  TokenizerSpec spec = LetterSpec();
  AddToken(&spec, "Ġ", TokenKind::kNormal);
  AddToken(&spec, "<Ġ>", TokenKind::kSpecial);
  AddToken(&spec, "a", TokenKind::kUserDefined);
  const auto tokenizer = MakeTokenizer(spec);
  EXPECT_EQ(tokenizer->vocab_size(), 13);
  EXPECT_EQ(tokenizer->TokenBytes(10), " ");
  EXPECT_EQ(tokenizer->TokenBytes(11), "<Ġ>");
  EXPECT_EQ(tokenizer->TokenBytes(-1), "");
  EXPECT_EQ(tokenizer->TokenBytes(13), "");
  EXPECT_TRUE(tokenizer->IsSpecial(11));
  EXPECT_FALSE(tokenizer->IsSpecial(10) || tokenizer->IsSpecial(12) || tokenizer->IsSpecial(99));
  EXPECT_EQ(tokenizer->TokenId("<Ġ>"), 11);
  EXPECT_EQ(tokenizer->TokenId("a"), 12);
  EXPECT_EQ(tokenizer->TokenId("zz"), -1);
  EXPECT_EQ(tokenizer->Decode(Ids{0, 11, 1}, true), "ab");
  EXPECT_EQ(tokenizer->Decode(Ids{0, 11, 1}, false), "a<Ġ>b");
}

}  // namespace
}  // namespace skipserve
