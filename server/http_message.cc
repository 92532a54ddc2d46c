#include "server/http_message.h"

#include <boost/beast/http/status.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace skipserve {

HttpReply JsonReply(int status, const OrderedJson& json) {
  HttpReply reply;
  reply.status = status;
  reply.body = DumpJson(json);
  return reply;
}

HttpReply TextReply(int status, std::string text) {
  HttpReply reply;
  reply.status = status;
  reply.content_type = "text/plain; charset=utf-8";
  reply.body = std::move(text);
  return reply;
}

HttpReply ErrorReply(const ApiError& error) {
  HttpReply reply = JsonReply(error.http_status, ErrorJson(error));
  if (error.http_status == 429 || error.http_status == 503) {
    reply.headers.emplace_back("Retry-After", "1");
  }
  return reply;
}

std::string SerializeHead(const HttpReply& reply, int64_t length, bool keep_alive, bool http_1_0) {
  const auto reason =
      boost::beast::http::obsolete_reason(static_cast<boost::beast::http::status>(reply.status));
  std::string head = absl::StrCat(
      http_1_0 ? "HTTP/1.0 " : "HTTP/1.1 ", reply.status, " ",
      absl::string_view(reason.data(), reason.size()), "\r\nServer: skipserve\r\nDate: ",
      absl::FormatTime("%a, %d %b %Y %H:%M:%S GMT", absl::Now(), absl::UTCTimeZone()),
      "\r\nContent-Type: ", reply.content_type, "\r\n");
  for (const auto& [name, value] : reply.headers) absl::StrAppend(&head, name, ": ", value, "\r\n");
  if (length >= 0) {
    absl::StrAppend(&head, "Content-Length: ", length, "\r\n");
  } else if (!http_1_0) {
    absl::StrAppend(&head, "Transfer-Encoding: chunked\r\n");
  }
  absl::StrAppend(&head, "Connection: ", keep_alive ? "keep-alive" : "close", "\r\n\r\n");
  return head;
}

bool PathOfTarget(absl::string_view target, std::string* path) {
  if (absl::StartsWithIgnoreCase(target, "http://") ||
      absl::StartsWithIgnoreCase(target, "https://")) {
    const size_t slash = target.find('/', target.find("//") + 2);
    target = slash == absl::string_view::npos ? "/" : target.substr(slash);
  }
  if (target.empty() || target[0] != '/') return false;
  target = target.substr(0, target.find_first_of("?#"));
  path->clear();
  for (size_t i = 0; i < target.size(); ++i) {
    if (target[i] != '%') {
      path->push_back(target[i]);
      continue;
    }
    uint32_t code = 0;
    if (i + 2 >= target.size() || !absl::ascii_isxdigit(target[i + 1]) ||
        !absl::ascii_isxdigit(target[i + 2]) ||
        !absl::SimpleHexAtoi(target.substr(i + 1, 2), &code)) {
      return false;
    }
    path->push_back(static_cast<char>(code));
    i += 2;
  }
  return true;
}

}  // namespace skipserve
