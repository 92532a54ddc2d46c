// The goldens of tests/golden/tokenizer as values: texts, vocabularies and the ids Hugging Face
// gives. For tests only.
#pragma once

#include <fstream>
#include <string>
#include <vector>

#include "engine/pretokenizer.h"
#include "engine/tokenizer.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace skipserve {

inline nlohmann::json ReadGolden(const std::string& name) {
  std::ifstream file(std::string(SKIPSERVE_SOURCE_DIR) + "/tests/golden/" + name);
  EXPECT_TRUE(file.good()) << "missing golden " << name;
  return nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
}

inline const std::vector<std::string>& GoldenTexts() {
  static const auto* texts = new std::vector<std::string>(
      ReadGolden("tokenizer/texts.json").get<std::vector<std::string>>());
  return *texts;
}

inline const std::vector<std::string>& Families() {
  static const auto* families =
      new std::vector<std::string>{"smollm", "gpt2", "llama-bpe", "qwen2"};
  return *families;
}

inline TokenizerSpec SpecOf(const nlohmann::json& golden) {
  TokenizerSpec spec;
  EXPECT_TRUE(SetPreTokenizer(golden["family"].get<std::string>(), &spec).ok());
  spec.tokens = golden["tokens"].get<std::vector<std::string>>();
  spec.kinds.assign(spec.tokens.size(), TokenizerSpec::TokenKind::kNormal);
  for (const int id : golden["special"]) spec.kinds[id] = TokenizerSpec::TokenKind::kSpecial;
  for (const int id : golden["user_defined"]) {
    spec.kinds[id] = TokenizerSpec::TokenKind::kUserDefined;
  }
  for (const auto& merge : golden["merges"]) spec.merges.emplace_back(merge[0], merge[1]);
  return spec;
}

inline std::unique_ptr<Tokenizer> MakeTokenizer(TokenizerSpec spec) {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::Create(std::move(spec));
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
}

inline std::unique_ptr<Tokenizer> FamilyTokenizer(const std::string& family) {
  return MakeTokenizer(SpecOf(ReadGolden("tokenizer/" + family + ".json")));
}

}  // namespace skipserve
