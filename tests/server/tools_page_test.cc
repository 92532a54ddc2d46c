// The inspection page: it holds every token once, stands alone, and no document can break out of
// it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/escaping.h"
#include "server/inspect_page.h"
#include "tests/support/fake_engine.h"

namespace skipserve {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class PageTest : public ::testing::Test {
 protected:
  PageTest() : tokenizer_(MakeByteTokenizer(/*add_bos=*/false)) {
    model_.config.name = "</title><script>alert(1)</script>";
    model_.config.layers = 3;
    model_.dtype = "f32";
    model_.kv_dtype = "f32";
  }

  // A prompt of bytes; layer 0 computes all, layer 1 every third token, layer 2 none but the last.
  InspectedRun Run(const std::string& text) const {
    InspectedRun run;
    for (const char c : text) run.prompt.push_back(static_cast<unsigned char>(c));
    const int32_t n = static_cast<int32_t>(run.prompt.size());
    Report& report = run.outcome.report;
    report.rows.resize(3);
    for (int32_t i = 0; i < n; ++i) {
      report.rows[0].attention.push_back(i);
      if (i % 3 == 0) report.rows[1].attention.push_back(i);
    }
    report.rows[2].attention = {n - 1};
    for (LayerRows& rows : report.rows) rows.ffn = rows.attention;
    report.layers = {{n, n, n, n}, {n, n / 3, n / 3, n / 3}, {n / 3, 1, 1, 1}};
    run.question = "is </script> safe?";
    run.outcome.text = "<!-- <script> \xFF";
    return run;
  }

  static nlohmann::json DataOf(const std::string& page) {
    const std::string open = "id=\"data\">";
    const size_t begin = page.find(open) + open.size();
    return nlohmann::json::parse(page.substr(begin, page.find("</script>", begin) - begin), nullptr,
                                 false);
  }

  ModelInfo model_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

size_t Count(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

constexpr char kHostileBytes[] =
    "</script><script>alert('x')</script> <!-- & \" ' \\ \0 \x1B[2J \xC3\xA9 \xF0\x9F\x98\x80 "
    "\xFF\xFE \xE2\x80\xA8 \xE2\x80\xAE end\n";
const std::string kHostile(kHostileBytes, sizeof(kHostileBytes) - 1);

TEST_F(PageTest, HoldsEveryTokenOnce) {
  const InspectedRun run = Run(kHostile);
  const nlohmann::json data = DataOf(InspectPage(model_, *tokenizer_, run));
  ASSERT_TRUE(data.is_object());
  EXPECT_EQ(data["ids"].get<std::vector<int32_t>>(), run.prompt);
  ASSERT_EQ(data["texts"].size(), run.prompt.size());
  std::string text;
  for (const auto& token : data["texts"]) text += token.get<std::string>();
  EXPECT_EQ(text, tokenizer_->Decode(run.prompt, /*skip_special=*/false));
}

TEST_F(PageTest, NoTextLeavesItsPlace) {
  const std::string page = InspectPage(model_, *tokenizer_, Run(kHostile));
  EXPECT_EQ(Count(page, "<script"), 2u);
  EXPECT_EQ(Count(page, "</script"), 2u);
  EXPECT_THAT(page, Not(HasSubstr("alert('x')<")));
  EXPECT_THAT(page, Not(HasSubstr("<!--")));
  EXPECT_EQ(page.find('\0'), std::string::npos);
  const std::string plain = InspectPage(model_, *tokenizer_, Run("harmless"));
  EXPECT_EQ(Count(page, "<"), Count(plain, "<"));
  EXPECT_EQ(DataOf(page)["question"], "is </script> safe?");
}

TEST_F(PageTest, StandsAlone) {
  const std::string page = InspectPage(model_, *tokenizer_, Run("a text"));
  for (const char* part : {"http:", "https:", "src=", "@import", "url(", "<link", "fetch("}) {
    EXPECT_THAT(page, Not(HasSubstr(part)));
  }
  EXPECT_THAT(page, HasSubstr("prefers-color-scheme: dark"));
}

TEST_F(PageTest, RowsAreBitmaps) {
  const nlohmann::json data = InspectData(model_, *tokenizer_, Run("0123456789"));
  EXPECT_EQ(data["attention"][0], "*");
  std::string bits;
  ASSERT_TRUE(absl::Base64Unescape(data["attention"][1].get<std::string>(), &bits));
  EXPECT_EQ(bits, std::string("\x49\x02", 2));  // 0, 3, 6, 9
  ASSERT_TRUE(absl::Base64Unescape(data["ffn"][2].get<std::string>(), &bits));
  EXPECT_EQ(bits, std::string("\0\x02", 2));
  EXPECT_EQ(data["candidates"], nlohmann::json({10, 10, 3}));
}

TEST_F(PageTest, SaysWhatTheLevelIsExpectedToLose) {
  InspectedRun run = Run("abc");
  EXPECT_FALSE(InspectData(model_, *tokenizer_, run)["skip"].contains("expected_kl"));
  run.outcome.report.policy_fingerprint = "00112233aabbccdd";
  run.outcome.report.expected_kl = 0.5;
  run.outcome.report.expected_agreement = 0.75;
  const std::string page = InspectPage(model_, *tokenizer_, run);
  EXPECT_EQ(DataOf(page)["skip"]["policy_fingerprint"], "00112233aabbccdd");
  EXPECT_EQ(DataOf(page)["skip"]["expected_agreement"], 0.75);
  EXPECT_THAT(page, HasSubstr("skip.expected_agreement"));
}

TEST_F(PageTest, SpecialTokensAreMarked) {
  InspectedRun run = Run("abc");
  run.prompt[1] = kFakeStart;
  const nlohmann::json data = InspectData(model_, *tokenizer_, run);
  EXPECT_EQ(data["special"], nlohmann::json::array({1}));
  EXPECT_EQ(data["texts"][1], "<|im_start|>");
}

}  // namespace
}  // namespace skipserve
