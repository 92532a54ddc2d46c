// GET /: the page for a person at a browser. It is one file, speaks to this server alone, and may
// run no script but its own, whatever an answer contains.
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/sha256.h"
#include "server/http_router.h"
#include "server/pages.h"

namespace skipserve {
namespace {

// As Content-Security-Policy names an element's text. One that matches nothing where there is no
// digest: the page then shows that its script was not let run.
std::string HashSource(absl::string_view element) {
  const absl::string_view page = kPage;
  const std::string open = absl::StrCat("<", element, ">"),
                    close = absl::StrCat("</", element, ">");
  const size_t begin = page.find(open) + open.size();
  Sha256 hash;
  hash.Update(page.substr(begin, page.find(close, begin) - begin));
  const absl::StatusOr<std::string> digest = hash.Digest();
  if (!digest.ok()) return "'none'";
  return absl::StrCat("'sha256-", absl::Base64Escape(*digest), "'");
}

std::string SecurityPolicy() {
  return absl::StrCat("default-src 'none'; script-src ", HashSource("script"), "; style-src ",
                      HashSource("style"),
                      "; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
                      "frame-ancestors 'none'; require-trusted-types-for 'script'");
}

}  // namespace

HttpReply HandlePage(HttpContext& context, const HttpRequest&) {
  if (!context.options.page) {
    return ErrorReply(ApiErrorFor(404, "The page is switched off (--no-page); see GET /help."));
  }
  static const std::string* const policy = new std::string(SecurityPolicy());
  HttpReply reply = TextReply(200, kPage);
  reply.content_type = "text/html; charset=utf-8";
  reply.headers = {{"Content-Security-Policy", *policy},
                   {"X-Content-Type-Options", "nosniff"},
                   {"Referrer-Policy", "no-referrer"},
                   {"Cache-Control", "no-cache"}};  // another version may be served tomorrow
  return reply;
}

}  // namespace skipserve
