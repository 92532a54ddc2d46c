// The tokenizer's smaller parts on their own: UTF-8 repair, the byte alphabet, the order of merges.
#include <random>
#include <set>
#include <utility>

#include "engine/bpe_alphabet.h"
#include "engine/bpe_queue.h"
#include "engine/utf8.h"
#include "engine/utf8_unicode.h"
#include "gtest/gtest.h"

namespace skipserve {
namespace {

// The expected texts are those of Python's bytes.decode("utf-8", "replace").
TEST(Utf8Test, EachMaximalBrokenPrefixBecomesOneReplacementCharacter) {
  const std::string r = "\xEF\xBF\xBD";
  const std::pair<std::string, std::string> cases[] = {
      {"", ""},
      {"a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"},
      {"\x80", r},
      {"\xC3", r},
      {"\xC3z", r + "z"},
      {"\xC0\x80", r + r},                  // overlong
      {"\xE0\x80\x80", r + r + r},          // overlong
      {"\xE0\x9F\xBF", r + r + r},          // overlong
      {"\xF0\x8F\xBF\xBF", r + r + r + r},  // overlong
      {"\xED\xA0\x80", r + r + r},          // a surrogate
      {"\xED\xBF\xBF", r + r + r},          // a surrogate
      {"\xED\x9F\xBF", "\xED\x9F\xBF"},
      {"\xF4\x8F\xBF\xBF", "\xF4\x8F\xBF\xBF"},
      {"\xF4\x90\x80\x80", r + r + r + r},  // above U+10FFFF
      {"\xF5\x80", r + r},
      {"\xE2\x82", r},
      {"\xE2\x82z", r + "z"},
      {"\xF0\x9F\x98", r},
      {"\xF0\x9F\xE2\x82\xAC", r + "\xE2\x82\xAC"},
      {"\xFF\xFE", r + r},
  };
  for (const auto& [bytes, text] : cases) EXPECT_EQ(ReplaceInvalidUtf8(bytes), text) << bytes;
}

TEST(Utf8Test, WhatIsSettledDoesNotDependOnWhatFollows) {
  EXPECT_EQ(SettledUtf8Length("ab"), 2u);
  EXPECT_EQ(SettledUtf8Length("a\xC3"), 1u);
  EXPECT_EQ(SettledUtf8Length("a\xE2\x82"), 1u);
  EXPECT_EQ(SettledUtf8Length("a\xF0\x9F\x98"), 1u);
  EXPECT_EQ(SettledUtf8Length("a\xF0\x9F\x98\x80"), 5u);
  EXPECT_EQ(SettledUtf8Length("\xED\xA0"), 2u);  // broken already
  EXPECT_EQ(SettledUtf8Length("\xFF"), 1u);
  EXPECT_EQ(SettledUtf8Length("\x80\x80\x80\x80"), 4u);
}

TEST(Utf8Test, EveryCodePointIsReadAsItWasWritten) {
  for (uint32_t code_point = 0; code_point <= 0x10FFFF; ++code_point) {
    std::string text;
    AppendUtf8(code_point, &text);
    const bool surrogate = code_point >= 0xD800 && code_point <= 0xDFFF;
    const Utf8Char c = ReadUtf8(text, 0);
    ASSERT_EQ(c.valid, !surrogate) << code_point;
    if (surrogate) continue;
    ASSERT_EQ(c.code_point, code_point);
    ASSERT_EQ(c.length, text.size());
  }
}

// Were these sorted one by one the test would not end.
TEST(Utf8Test, AMegabyteOfCombiningMarksIsNormalised) {
  std::string text = "a";
  std::string above, below;
  for (int i = 0; i < 1 << 18; ++i) {
    text += "\xCC\x81\xCC\xA3";  // U+0301 above, U+0323 below
    above += "\xCC\x81";
    if (i > 0) below += "\xCC\xA3";
  }
  EXPECT_EQ(ToNfc(text), "\xE1\xBA\xA1" + below + above);  // the first mark below joins the letter
}

TEST(ByteAlphabetTest, StandsForEveryByteAndBack) {
  std::string text, bytes, expected;
  for (int byte = 0; byte < 256; ++byte) {
    AppendUtf8(ByteAlphabetChar(static_cast<uint8_t>(byte)), &text);
    expected += static_cast<char>(byte);
  }
  ASSERT_TRUE(ByteAlphabetDecode(text, &bytes));
  EXPECT_EQ(bytes, expected);
  EXPECT_EQ(ByteAlphabetChar(' '), 0x120u);
  EXPECT_FALSE(ByteAlphabetDecode(" ", &bytes));
  EXPECT_FALSE(ByteAlphabetDecode("\xE2\x82\xAC", &bytes));
  EXPECT_FALSE(ByteAlphabetDecode("\xFF", &bytes));
}

TEST(MergeQueueTest, GivesTheLowestRankThenTheLeftmostPlace) {
  std::mt19937 rng(4);
  MergeQueue queue;
  std::multiset<std::pair<uint32_t, uint32_t>> expected;
  uint32_t rank = 0, place = 0;
  for (int round = 0; round < 20000; ++round) {
    // Mostly growing, then mostly shrinking, so that ranks empty and fill again.
    const bool push = rng() % 10 < (round < 10000 ? 6u : 4u);
    if (push) {
      rank = rng() % 8;
      place = rng() % 1000;
      queue.Push(rank, place);
      expected.emplace(rank, place);
    } else if (queue.Pop(&rank, &place)) {
      ASSERT_EQ(std::make_pair(rank, place), *expected.begin());
      expected.erase(expected.begin());
    } else {
      ASSERT_TRUE(expected.empty());
    }
  }
}

}  // namespace
}  // namespace skipserve
