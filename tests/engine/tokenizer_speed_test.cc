// How long the tokenizer may take: half a second for a megabyte of any text is what users are
// promised. The test allows four times as much, of the fastest of three tries, so that only a
// change of complexity fails it, not a busy machine.
#include <algorithm>
#include <cstdlib>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "engine/model_file.h"
#include "tests/engine/tokenizer_goldens.h"

namespace skipserve {
namespace {

constexpr size_t kMegabyte = 1 << 20;
constexpr absl::Duration kLimit = absl::Milliseconds(4 * 500);

std::string Repeated(const std::string& text) {
  std::string result;
  while (result.size() < kMegabyte) result += text;
  return result;
}

void ExpectFast(const Tokenizer& tokenizer) {
  std::string prose;
  for (const std::string& text : GoldenTexts()) prose += text + " ";
  const std::pair<const char*, std::string> texts[] = {
      {"every golden text, over and over", Repeated(prose)},
      {"one letter", std::string(kMegabyte, 'a')},
      {"spaces", std::string(kMegabyte, ' ')},
      {"line ends", std::string(kMegabyte, '\n')},
      {"one digit", std::string(kMegabyte, '7')},
      {"one sign", std::string(kMegabyte, '!')},
      {"a combining mark", Repeated("\xcc\x81")},
      {"two combining marks in turn", Repeated("\xcc\x81\xcc\xa3")},
      {"bytes that are no UTF-8", std::string(kMegabyte, '\xff')},
  };
  for (const auto& [name, text] : texts) {
    absl::Duration best = absl::InfiniteDuration();
    for (int i = 0; i < 3 && best > kLimit; ++i) {
      const absl::Time begin = absl::Now();
      tokenizer.Encode(text, /*allow_special=*/false);
      best = std::min(best, absl::Now() - begin);
    }
    EXPECT_LT(best, kLimit) << name;
  }
}

class TokenizerSpeed : public testing::Test {
 protected:
  void SetUp() override {
    if (SKIPSERVE_SANITIZED) GTEST_SKIP() << "a sanitizer's speed says nothing";
  }
};

TEST_F(TokenizerSpeed, AMegabyteIsReadInTime) {
  for (const std::string& family : Families()) {
    SCOPED_TRACE(family);
    const auto tokenizer = FamilyTokenizer(family);
    ASSERT_NE(tokenizer, nullptr);
    ExpectFast(*tokenizer);
  }
}

TEST_F(TokenizerSpeed, AMegabyteIsReadInTimeWithARealVocabulary) {
  const char* path = std::getenv("SKIPSERVE_TEST_MODEL");
  if (path == nullptr) GTEST_SKIP() << "SKIPSERVE_TEST_MODEL names no model";
  const auto model = ModelFile::Open(path);
  ASSERT_TRUE(model.ok()) << model.status();
  const auto tokenizer = MakeTokenizer((*model)->tokenizer());
  ASSERT_NE(tokenizer, nullptr);
  ExpectFast(*tokenizer);
}

}  // namespace
}  // namespace skipserve
