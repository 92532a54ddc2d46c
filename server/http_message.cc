#include "server/http_message.h"

#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/url/src.hpp>  // the library itself: Debian's compiled one is a package of its own
#include <sstream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/openai_json.h"
#include "server/status.h"

namespace skipserve {

namespace http = boost::beast::http;
namespace urls = boost::urls;

namespace {

// JSON, or not said. What a web page can post to another site without being asked for leave is
// turned away.
bool IsJson(absl::string_view content_type) {
  const absl::string_view type =
      absl::StripAsciiWhitespace(content_type.substr(0, content_type.find(';')));
  return type.empty() || absl::EqualsIgnoreCase(type, "application/json");
}

}  // namespace

void HttpRequest::FreeBody() {
  std::string().swap(body);
  charge.reset();
}

std::optional<ApiError> ReadJson(const HttpRequest& request, nlohmann::json* out) {
  if (IsJson(request.content_type)) return ParseJsonObject(request.body, out);
  return ApiErrorFor(415, "The body must be sent as Content-Type: application/json.");
}

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

HttpReply ErrorReply(const ApiError& error, absl::Duration retry_after) {
  HttpReply reply = JsonReply(error.http_status, ErrorJson(error));
  if (error.http_status == 429 || error.http_status == 503) {
    reply.headers.emplace_back("Retry-After", RetrySeconds(retry_after));
  }
  if (error.http_status == 401) reply.headers.emplace_back("WWW-Authenticate", "Bearer");
  return reply;
}

std::string SerializeHead(const HttpReply& reply, std::optional<uint64_t> length, bool keep_alive,
                          bool http_1_0) {
  http::response<http::empty_body> head(static_cast<http::status>(reply.status),
                                        http_1_0 ? 10 : 11);
  head.set(http::field::server, "skipserve");
  head.set(http::field::date,
           absl::FormatTime("%a, %d %b %Y %H:%M:%S GMT", absl::Now(), absl::UTCTimeZone()));
  head.set(http::field::content_type, reply.content_type);
  for (const auto& [name, value] : reply.headers) head.set(name, value);
  if (length) head.content_length(*length);
  if (!length && !http_1_0) head.chunked(true);
  head.set(http::field::connection, keep_alive ? "keep-alive" : "close");
  std::ostringstream out;
  out << head.base();
  return out.str();
}

bool PathOfTarget(absl::string_view target, std::string* path) {
  const urls::string_view text(target.data(), target.size());
  const auto url = absl::StartsWith(target, "/") ? urls::parse_origin_form(text)
                                                 : urls::parse_absolute_uri(text);
  if (!url) return false;
  *path = url->path();
  if (path->empty()) *path = "/";  // of "http://host"
  return path->front() == '/';
}

}  // namespace skipserve
