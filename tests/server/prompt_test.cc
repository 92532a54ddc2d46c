// From text, chat or ids to a prompt that fits; and what a model and an address are called.
#include "server/prompt.h"

#include <limits>

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
