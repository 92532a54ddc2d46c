// The page at /: what is served, that it stands alone, and that it can be switched off. What it
// does in a browser is tests/conformance/test_page.py's.
#include <openssl/sha.h>

#include <fstream>
#include <sstream>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/http_router.h"
#include "tests/server/http_fixture.h"

namespace skipserve {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string Source(const std::string& file) {
  std::ostringstream text;
  text << std::ifstream(absl::StrCat(SKIPSERVE_SOURCE_DIR, "/server/", file)).rdbuf();
  return text.str();
}

// The text of the one element of this name.
std::string Element(const std::string& page, const std::string& name) {
  const std::string open = absl::StrCat("<", name, ">"), close = absl::StrCat("</", name, ">");
  const size_t begin = page.find(open), end = page.find(close);
  EXPECT_NE(begin, std::string::npos) << name;
  EXPECT_EQ(page.find(open, begin + 1), std::string::npos) << name;
  EXPECT_EQ(page.find(close, end + 1), std::string::npos) << name;
  return page.substr(begin + open.size(), end - begin - open.size());
}

std::string HashSource(const std::string& text) {
  unsigned char hash[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), hash);
  return absl::StrCat(
      "'sha256-",
      absl::Base64Escape(absl::string_view(reinterpret_cast<const char*>(hash), sizeof(hash))),
      "'");
}

TEST_F(HttpTest, ThePageIsItsSourcesPutTogether) {
  const TestReply page = Get("/");
  EXPECT_EQ(page.status, 200);
  EXPECT_EQ(page.headers.at("content-type"), "text/html; charset=utf-8");
  EXPECT_EQ(page.headers.at("cache-control"), "no-cache");
  EXPECT_EQ(page.headers.at("x-content-type-options"), "nosniff");
  std::string whole = Source("page.html");
  for (const char* part : {"css", "html", "js"}) {
    const std::string marker = absl::StrCat("@SKIP_PICTURE_", absl::AsciiStrToUpper(part), "@");
    const size_t at = whole.find(marker);
    ASSERT_NE(at, std::string::npos) << marker;
    whole.replace(at, marker.size(), Source(absl::StrCat("skip_picture.", part)));
  }
  EXPECT_EQ(page.body, whole);

  TestClient client(port());
  client.Send("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n");
  const TestReply head = client.Read(/*head=*/true);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.headers.at("content-length"), std::to_string(whole.size()));
}

TEST_F(HttpTest, ThePageMayRunItsOwnScriptAndNothingElse) {
  const TestReply page = Get("/");
  EXPECT_EQ(
      page.headers.at("content-security-policy"),
      absl::StrCat("default-src 'none'; script-src ", HashSource(Element(page.body, "script")),
                   "; style-src ", HashSource(Element(page.body, "style")),
                   "; connect-src 'self'; img-src data:; base-uri 'none'; form-action "
                   "'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"));
  for (const char* part : {"https:", "src=", "@import", "url(", "innerHTML", "eval(", " style=\"",
                           "onclick=\"", "@SKIP"}) {
    EXPECT_THAT(page.body, Not(HasSubstr(part)));
  }
  // The only address in it is the name of SVG.
  std::string rest = page.body;
  const std::string svg = "http://www.w3.org/2000/svg";
  rest.erase(rest.find(svg), svg.size());
  EXPECT_THAT(rest, Not(HasSubstr("http:")));
}

TEST_F(HttpTest, ThePageAsksForRoutesThatExist) {
  const std::string page = Get("/").body;
  for (const auto& [method, path] : {std::pair("GET", "v1/models"),
                                     {"POST", "v1/chat/completions"},
                                     {"POST", "v1/completions"},
                                     {"POST", "tokenize"},
                                     {"GET", "load"}}) {
    EXPECT_THAT(page, HasSubstr(absl::StrCat("'", path, "'")));
    EXPECT_NE(MatchRoute(method, absl::StrCat("/", path)).route, nullptr) << path;
  }
}

TEST_F(HttpTest, ThePageCanBeSwitchedOff) {
  HttpOptions options;
  options.page = false;
  Restart(FakeOptions(), options);
  const TestReply page = Get("/");
  EXPECT_EQ(page.status, 404);
  EXPECT_THAT(page.body, Not(HasSubstr("<html")));
  EXPECT_THAT(page.json()["error"]["message"].get<std::string>(), HasSubstr("--no-page"));
  EXPECT_EQ(Get("/help").status, 200);
  ExpectAlive();
}

}  // namespace
}  // namespace skipserve
