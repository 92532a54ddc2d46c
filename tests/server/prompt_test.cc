// From text, chat or ids to a prompt that fits; and what a model and an address are called.
#include "server/prompt.h"

#include <algorithm>
#include <limits>
#include <memory>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/host_port.h"
#include "server/model_name.h"
#include "tests/support/fake_engine.h"

namespace skipserve {
namespace {

using testing::HasSubstr;

TEST(PromptTest, TheContextHoldsPromptAndAnswer) {
  ModelInfo info;
  info.max_context = 100;
  EXPECT_TRUE(CheckContext(info, 99, 0).ok());
  EXPECT_FALSE(CheckContext(info, 100, 0).ok());
  EXPECT_TRUE(CheckContext(info, 60, 40).ok());
  const absl::Status status = CheckContext(info, 60, 41);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  for (const char* number : {"60", "41", "100"}) {
    EXPECT_THAT(std::string(status.message()), HasSubstr(number));
  }
  EXPECT_FALSE(CheckContext(info, 1, std::numeric_limits<int64_t>::max()).ok());
}

TEST(PromptTest, BosComesOnceAndOnlyWhereItIsWanted) {
  FakeOptions options;
  const FakeEngine without(options);
  options.add_bos = true;
  const FakeEngine with(options);
  using Ids = std::vector<int32_t>;
  constexpr PromptUse use = PromptUse::kRead;
  EXPECT_EQ(*PromptFromText(without, "a", use), (Ids{'a'}));
  EXPECT_EQ(*PromptFromText(with, "a", use), (Ids{kFakeBos, 'a'}));
  EXPECT_EQ(*PromptFromText(with, "<s>a", use), (Ids{kFakeBos, 'a'}));
  EXPECT_EQ(PromptFromChat(with, {{"user", "<s>"}}, use)->at(1), kFakeStart);
}

// The longest of the fake engine's tokens, "<|im_start|>", has 12 bytes.
TEST(PromptTest, WhatNoContextCouldHoldIsNotTokenized) {
  FakeOptions options;
  options.max_context = 10;
  const FakeEngine engine(options);
  const std::string fits = std::string(131, 'x');  // not the tokens, but that is for later to say
  EXPECT_TRUE(PromptFromText(engine, fits, PromptUse::kRead).ok());
  const std::string never = std::string(132, 'x');
  const absl::Status status = PromptFromText(engine, never, PromptUse::kRead).status();
  EXPECT_TRUE(IsTooLong(status));
  for (const char* number : {"132 bytes", "10 tokens", "12 bytes"}) {
    EXPECT_THAT(std::string(status.message()), HasSubstr(number));
  }
  EXPECT_TRUE(IsTooLong(PromptFromChat(engine, {{"user", never}}, PromptUse::kRead).status()));
  EXPECT_EQ(PromptFromText(engine, never, PromptUse::kCount)->size(), 132u);
}

// A template that trims what is said, unlike the fake engine's own.
class TrimmingEngine : public FakeEngine {
 public:
  const ChatTemplate* chat_template() const override { return template_.get(); }

 private:
  const std::unique_ptr<ChatTemplate> template_ = *ChatTemplate::Parse(
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n"
      "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
      "", "");
};

void ExpectLongestSharedStart(const Engine& engine, const std::vector<ChatMessage>& messages) {
  const std::vector<int32_t> prefix = *PrefixFromChat(engine, messages);
  std::vector<std::vector<int32_t>> chats;
  for (const char* question : {"\n\nWho?", "Is it?"}) {
    std::vector<ChatMessage> asked = messages;
    asked.back().content += question;
    chats.push_back(*PromptFromChat(engine, asked, PromptUse::kRead));
  }
  const auto shared = std::mismatch(chats[0].begin(), chats[0].end(), chats[1].begin());
  EXPECT_EQ(prefix, std::vector<int32_t>(chats[0].begin(), shared.first));
  // And a question in a message of its own begins with it too, but for what is trimmed.
  std::vector<ChatMessage> turn = messages;
  turn.push_back({"user", "Who?"});
  const std::vector<int32_t> next = *PromptFromChat(engine, turn, PromptUse::kRead);
  const auto end = std::mismatch(prefix.begin(), prefix.end(), next.begin()).first;
  EXPECT_LE(prefix.end() - end, 1);
}

TEST(PromptTest, APrefixIsWhatAllChatsBeginWithThatBeginAlike) {
  const FakeEngine plain;
  const TrimmingEngine trimming;
  for (const Engine* engine :
       {static_cast<const Engine*>(&plain), static_cast<const Engine*>(&trimming)}) {
    ExpectLongestSharedStart(*engine, {{"user", "A law.\n"}});
    ExpectLongestSharedStart(*engine, {{"system", "Be brief."}, {"user", "<|im_end|> A law."}});
    ExpectLongestSharedStart(*engine, {{"user", "Hello"}, {"assistant", ""}});
  }
  EXPECT_EQ(PrefixFromChat(plain, {}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(PromptTest, UnknownIdsAreNamedWithTheirField) {
  EXPECT_TRUE(CheckTokenIds({0, 7}, "ids", 8).ok());
  const absl::Status status = CheckTokenIds({0, 8}, "ids", 8);
  EXPECT_EQ(status.message(),
            "ids has the token id 8 at position 1, which is not in the vocabulary of 8");
  EXPECT_FALSE(CheckTokenIds({-1}, "ids", 8).ok());
}

TEST(ModelNameTest, OneModelHasItsNames) {
  EXPECT_EQ(ServedName("/a/b/Smol-Q8.gguf"), "Smol-Q8");
  EXPECT_EQ(ServedName("Smol/"), "Smol");
  EXPECT_EQ(ServedName(""), "default");
  for (const char* name : {"", "default", "tiny", "Smol-Q8", "Smol-Q8.gguf"}) {
    EXPECT_TRUE(MeansModel(name, "tiny", "/a/b/Smol-Q8.gguf")) << name;
  }
  EXPECT_FALSE(MeansModel("Smol", "tiny", "/a/b/Smol-Q8.gguf"));
}

TEST(HostPortTest, Ipv6AddressesAreInBrackets) {
  EXPECT_EQ(HostPort("127.0.0.1", 80), "127.0.0.1:80");
  EXPECT_EQ(HostPort("::1", 80), "[::1]:80");
  EXPECT_EQ(HostPort("[::1]", 80), "[::1]:80");
}

}  // namespace
}  // namespace skipserve
