#include "server/http_connection.h"

#include <boost/asio/post.hpp>
#include <utility>

#include "server/http_exchange.h"
#include "server/http_reader.h"
#include "server/http_router.h"
#include "server/log.h"

namespace skipserve {
namespace {

// For a peer to read an error's reply before the connection is closed under it.
constexpr Clock::duration kLinger = std::chrono::seconds(5);

HttpRequest NoRequest() {
  HttpRequest request;
  request.keep_alive = false;
  return request;
}

}  // namespace

HttpConnection::HttpConnection(HttpContext& context, asio::ip::tcp::socket socket)
    : context_(context), transport_(std::make_shared<HttpTransport>(std::move(socket))) {}

asio::awaitable<void> HttpConnection::Run(bool room) {
  if (!room) co_await Refuse();
  // A co_await in the condition of a loop is miscompiled by g++ 12.
  bool again = room;
  while (again) again = co_await ServeOne();
  transport_->Close();
}

asio::awaitable<bool> HttpConnection::ServeOne() {
  const HttpOptions& options = context_.options;
  if (context_.stopping) co_return false;
  reading_ = true;
  if (buffer_.size() == 0) {
    const ErrorCode ec =
        co_await transport_->ReadSome(buffer_, Clock::now() + options.idle_timeout);
    if (ec) co_return false;
  }
  const HttpReadLimits limits{options.header_limit_bytes, options.body_limit_bytes,
                              options.header_timeout, options.body_timeout};
  HttpReadResult read = co_await ReadHttpRequest(*transport_, buffer_, limits, context_.bodies);
  reading_ = false;
  if (read.closed) co_return false;

  const bool keep = read.request.keep_alive && !read.error && !context_.stopping;
  const auto exchange = std::make_shared<HttpExchange>(transport_, buffer_, std::move(read.request),
                                                       keep, options.write_timeout);
  if (read.error) {
    LogEvent(spdlog::level::info, {{"event", "http_refused"},
                                   {"status", read.error->http_status},
                                   {"reason", read.error->message}});
    const bool sent = co_await exchange->Reply(ErrorReply(*read.error));
    if (sent) co_await transport_->Linger(kLinger);
    co_return false;
  }
  co_await AnswerRequest(context_, *exchange);
  co_return exchange->reusable();
}

asio::awaitable<void> HttpConnection::Refuse() {
  const auto exchange = std::make_shared<HttpExchange>(transport_, buffer_, NoRequest(), false,
                                                       context_.options.write_timeout);
  const bool sent = co_await exchange->Reply(
      ErrorReply(ApiErrorFor(503, "The server has too many connections; try again.")));
  if (sent) co_await transport_->Linger(kLinger);
}

void HttpConnection::RequestStop() {
  asio::post(executor(), [self = shared_from_this()] {
    if (self->reading_) self->transport_->CancelRead();
  });
}

void HttpConnection::Abort() {
  asio::post(executor(), [self = shared_from_this()] { self->transport_->Close(); });
}

}  // namespace skipserve
