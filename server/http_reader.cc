#include "server/http_reader.h"

#include <boost/asio/error.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace skipserve {
namespace {

namespace http = boost::beast::http;
using Parser = http::request_parser<http::string_body>;

constexpr int64_t kSlowestBytesPerSecond = 64 << 10;
constexpr Clock::duration kContinueTimeout = std::chrono::seconds(10);

ApiError ParseError(const ErrorCode& ec, const HttpReadLimits& limits) {
  if (ec == http::error::header_limit) {
    return ApiErrorFor(431, absl::StrCat("The headers are over ", limits.header_bytes, " bytes."));
  }
  if (ec == http::error::body_limit) {
    return ApiErrorFor(413, absl::StrCat("The body is over ", limits.body_bytes, " bytes."));
  }
  if (ec == http::error::bad_version) return ApiErrorFor(505, "Only HTTP/1.0 and 1.1 are spoken.");
  return ApiErrorFor(400, "This is not a valid HTTP request: " + ec.message() + ".");
}

// Takes what the buffer holds. True where the parser wants more.
bool Feed(Parser& parser, boost::beast::flat_buffer& buffer, ErrorCode& ec) {
  ec = {};
  if (buffer.size() == 0) return true;
  const size_t used = parser.put(buffer.data(), ec);
  buffer.consume(used);
  if (ec != http::error::need_more) return false;
  ec = {};
  return true;
}

HttpReadResult Failed(ApiError error) {
  HttpReadResult result;
  result.error = std::move(error);
  return result;
}

HttpReadResult Unread(const ErrorCode& ec, const char* what) {
  if (ec == asio::error::timed_out) {
    return Failed(ApiErrorFor(408, absl::StrCat("The ", what, " did not come in time.")));
  }
  HttpReadResult result;
  result.closed = true;
  return result;
}

HttpReadResult ToRequest(Parser& parser) {
  HttpReadResult result;
  HttpRequest& request = result.request;
  auto& message = parser.get();
  const auto target = message.target();
  if (!PathOfTarget(absl::string_view(target.data(), target.size()), &request.path)) {
    return Failed(ApiErrorFor(400, "The request's target is malformed."));
  }
  request.method = std::string(message.method_string());
  if (request.method == "HEAD") {
    request.method = "GET";
    request.head = true;
  }
  request.content_type = std::string(message[http::field::content_type]);
  request.authorization = std::string(message[http::field::authorization]);
  request.keep_alive = message.keep_alive();
  request.http_1_0 = message.version() < 11;
  request.body = std::move(message.body());
  return result;
}

}  // namespace

asio::awaitable<HttpReadResult> ReadHttpRequest(HttpTransport& transport,
                                                boost::beast::flat_buffer& buffer,
                                                const HttpReadLimits& limits,
                                                HttpBodyBudget& bodies) {
  auto charge = std::make_unique<HttpBodyCharge>(bodies);
  Parser parser;
  parser.header_limit(limits.header_bytes);
  parser.body_limit(limits.body_bytes);
  ErrorCode ec;

  Clock::time_point deadline = Clock::now() + limits.header_timeout;
  while (!parser.is_header_done()) {
    if (!Feed(parser, buffer, ec)) {
      if (ec) co_return Failed(ParseError(ec, limits));
      continue;
    }
    ec = co_await transport.ReadSome(buffer, deadline);
    if (ec) co_return Unread(ec, "request's header");
  }

  parser.eager(true);
  const auto expect = parser.get()[http::field::expect];
  if (absl::EqualsIgnoreCase(absl::string_view(expect.data(), expect.size()), "100-continue") &&
      !parser.is_done() && buffer.size() == 0) {
    ec = co_await transport.Write("HTTP/1.1 100 Continue\r\n\r\n", kContinueTimeout);
    if (ec) co_return Unread(ec, "request's body");
  }
  deadline = Clock::now() + limits.body_timeout;
  while (!parser.is_done()) {
    const bool more = Feed(parser, buffer, ec);
    if (ec) co_return Failed(ParseError(ec, limits));
    const auto held = static_cast<int64_t>(parser.get().body().size());
    if (!charge->GrowTo(held)) {
      co_return Failed(ApiErrorFor(503, "Too many large requests are being read; try again."));
    }
    if (!more) continue;
    ec = co_await transport.ReadSome(
        buffer, deadline + std::chrono::seconds(held / kSlowestBytesPerSecond));
    if (ec) co_return Unread(ec, "request's body");
  }
  HttpReadResult result = ToRequest(parser);
  result.request.charge = std::move(charge);
  co_return result;
}

}  // namespace skipserve
