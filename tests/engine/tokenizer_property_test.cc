// Properties of the tokenizer on random bytes: nothing is lost, the split into pieces changes
// nothing, untrusted text never makes a special token, and a stream of ids decodes as the whole
// does.
#include <random>

#include "engine/tokenizer.h"
#include "engine/utf8.h"
#include "tests/engine/tokenizer_goldens.h"

namespace skipserve {
namespace {

using Ids = std::vector<int32_t>;

std::string Bytes(const Tokenizer& tokenizer, const Ids& ids) {
  std::string bytes;
  for (const int32_t id : ids) bytes += std::string(tokenizer.TokenBytes(id));
  return bytes;
}

// Random bytes, and bytes of real text cut, repeated and broken at random.
std::string RandomBytes(std::mt19937* rng) {
  std::string text;
  const auto below = [rng](size_t n) { return n == 0 ? 0 : (*rng)() % n; };
  const size_t parts = below(6);
  for (size_t i = 0; i < parts; ++i) {
    if (below(3) == 0) {
      for (size_t n = below(20); n > 0; --n) text += static_cast<char>(below(256));
    } else {
      const std::string& source = GoldenTexts()[below(GoldenTexts().size())];
      const size_t begin = below(source.size());
      text += source.substr(begin, below(80));
    }
  }
  if (!text.empty() && below(2) == 0) text[below(text.size())] = static_cast<char>(below(256));
  return text;
}

class TokenizerPropertyTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    // Normalisation changes bytes by design; the golden test covers it.
    TokenizerSpec spec = SpecOf(ReadGolden("tokenizer/" + GetParam() + ".json"));
    spec.nfc = false;
    tokenizer_ = MakeTokenizer(std::move(spec));
    ASSERT_NE(tokenizer_, nullptr);
  }
  std::unique_ptr<Tokenizer> tokenizer_;
  std::mt19937 rng_{20250102};
};

TEST_P(TokenizerPropertyTest, TheIdsCarryTheBytes) {
  for (int round = 0; round < 2000; ++round) {
    const std::string text = RandomBytes(&rng_);
    for (const bool trusted : {false, true}) {
      const Ids ids = tokenizer_->Encode(text, trusted);
      ASSERT_EQ(Bytes(*tokenizer_, ids), text);
      ASSERT_EQ(tokenizer_->Decode(ids, false), ReplaceInvalidUtf8(text));
      for (const int32_t id : ids) ASSERT_TRUE(trusted || !tokenizer_->IsSpecial(id)) << text;
    }
  }
}

TEST_P(TokenizerPropertyTest, TheSplitIntoPiecesChangesNothing) {
  for (int round = 0; round < 2000; ++round) {
    const std::string text = RandomBytes(&rng_);
    for (const bool trusted : {false, true}) {
      std::vector<TextPiece> pieces;
      for (size_t pos = 0; pos < text.size();) {
        const size_t length = rng_() % 7;  // zero too
        pieces.push_back({text.substr(pos, length), trusted});
        pos += pieces.back().text.size();
      }
      ASSERT_EQ(tokenizer_->Encode(pieces), tokenizer_->Encode(text, trusted)) << text;
    }
  }
}

// The reference for mixed trust: cut out every special token that lies in trusted text, by hand,
// and encode the rest.
TEST_P(TokenizerPropertyTest, SpecialTokensNeedWhollyTrustedText) {
  const std::string marker = "<|im_start|>";
  const int32_t marker_id = tokenizer_->TokenId(marker);
  ASSERT_GE(marker_id, 0);
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    std::string trust;  // 't' or 'u' for each byte
    for (size_t i = rng_() % 6 + 1; i > 0; --i) {
      const std::string part = rng_() % 2 == 0 ? marker : marker.substr(rng_() % 4, rng_() % 12);
      const bool mixed = rng_() % 3 == 0;
      const char all = rng_() % 2 == 0 ? 't' : 'u';
      for (const char c : part) {
        text += c;
        trust += mixed ? (rng_() % 8 == 0 ? 'u' : 't') : all;
      }
      text += ' ';
      trust += 'u';
    }
    std::vector<TextPiece> pieces;
    for (size_t i = 0; i < text.size(); ++i) {
      const bool trusted = trust[i] == 't';
      if (pieces.empty() || pieces.back().trusted != trusted || rng_() % 4 == 0) {
        pieces.push_back({"", trusted});
      }
      pieces.back().text += text[i];
    }
    Ids expected;
    size_t done = 0;
    const auto plain = [&](size_t end) {
      const Ids ids = tokenizer_->Encode(text.substr(done, end - done), false);
      expected.insert(expected.end(), ids.begin(), ids.end());
    };
    for (size_t at = text.find(marker); at != std::string::npos; at = text.find(marker, at + 1)) {
      if (trust.substr(at, marker.size()).find('u') != std::string::npos) continue;
      plain(at);
      expected.push_back(marker_id);
      done = at + marker.size();
    }
    plain(text.size());
    ASSERT_EQ(tokenizer_->Encode(pieces), expected) << text << "\n" << trust;
  }
}

TEST_P(TokenizerPropertyTest, AStreamDecodesAsTheWholeDoes) {
  for (int round = 0; round < 2000; ++round) {
    Ids ids;
    for (size_t n = rng_() % 20; n > 0; --n) {
      // Byte tokens often, so that characters break in every way; ids outside the vocabulary too.
      const uint32_t choice = rng_() % 20;
      const int32_t id = choice == 0 ? -1
                         : choice < 12
                             ? tokenizer_->Encode(std::string(1,
                                                              "\xF0\x9F\x98\x80\xE2\x82\xC3"
                                                              "aa"[rng_() % 9]),
                                                  false)[0]
                             : static_cast<int32_t>(rng_() % (tokenizer_->vocab_size() + 3));
      ids.push_back(id);
    }
    for (const bool skip_special : {false, true}) {
      StreamDecoder decoder(*tokenizer_, skip_special);
      std::string text;
      for (const int32_t id : ids) {
        const std::string part = decoder.Push(id);
        ASSERT_EQ(ValidUtf8Length(part), part.size());
        text += part;
      }
      text += decoder.Finish();
      ASSERT_EQ(text, tokenizer_->Decode(ids, skip_special));
      ASSERT_EQ(decoder.Finish(), "");
    }
  }
}

TEST_P(TokenizerPropertyTest, ACharacterIsGivenOutWithItsLastByte) {
  StreamDecoder decoder(*tokenizer_, false);
  const std::string smile = "\xF0\x9F\x98\x80";
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(decoder.Push(tokenizer_->Encode(smile.substr(i, 1), false)[0]), "");
  }
  EXPECT_EQ(decoder.Push(tokenizer_->Encode(smile.substr(3), false)[0]), smile);
  EXPECT_EQ(decoder.Push(tokenizer_->Encode(smile.substr(0, 1), false)[0]), "");
  EXPECT_EQ(decoder.Finish(), "\xEF\xBF\xBD");
}

INSTANTIATE_TEST_SUITE_P(Families, TokenizerPropertyTest, testing::ValuesIn(Families()),
                         [](const testing::TestParamInfo<std::string>& info) {
                           return info.param == "llama-bpe" ? "llama" : info.param;
                         });

}  // namespace
}  // namespace skipserve
