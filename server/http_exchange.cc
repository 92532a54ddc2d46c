#include "server/http_exchange.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/http/chunk_encode.hpp>
#include <utility>

namespace skipserve {

namespace beast = boost::beast;

namespace {

// What a client may send ahead while its answer is being made; then it is watched no longer.
constexpr size_t kMaxAheadBytes = 256 << 10;

}  // namespace

HttpExchange::HttpExchange(std::shared_ptr<HttpTransport> transport,
                           boost::beast::flat_buffer& buffer, HttpRequest request, bool keep_alive,
                           Clock::duration write_timeout)
    : transport_(std::move(transport)),
      buffer_(buffer),
      request_(std::move(request)),
      keep_alive_(keep_alive),
      write_timeout_(write_timeout),
      watch_ended_(transport_->executor(), HttpTransport::kNever) {}

std::string HttpExchange::Head(HttpReply& reply, std::optional<uint64_t> length) const {
  if (!id_.empty()) reply.headers.emplace_back("X-Request-Id", id_);
  return SerializeHead(reply, length, keep_alive_, request_.http_1_0);
}

asio::awaitable<bool> HttpExchange::Write(std::string bytes) {
  if (gone_) co_return false;
  const ErrorCode ec = co_await transport_->Write(bytes, write_timeout_);
  if (ec) gone_ = true;
  co_return !gone_;
}

asio::awaitable<bool> HttpExchange::Reply(HttpReply reply) {
  replied_ = true;
  std::string bytes = Head(reply, reply.body.size());
  if (!request_.head) bytes += reply.body;
  finished_ = co_await Write(std::move(bytes));
  co_return finished_;
}

asio::awaitable<bool> HttpExchange::BeginStream(HttpReply head) {
  replied_ = true;
  if (request_.http_1_0) keep_alive_ = false;
  co_return co_await Write(Head(head, std::nullopt));
}

asio::awaitable<bool> HttpExchange::Send(std::string bytes) {
  if (bytes.empty()) co_return !gone_;  // an empty chunk would end the stream
  if (!request_.http_1_0)
    bytes = beast::buffers_to_string(beast::http::make_chunk(asio::buffer(bytes)));
  co_return co_await Write(std::move(bytes));
}

asio::awaitable<bool> HttpExchange::EndStream() {
  finished_ = !gone_;
  if (!request_.http_1_0)
    finished_ = co_await Write(beast::buffers_to_string(beast::http::make_chunk_last()));
  co_return finished_;
}

void HttpExchange::StartWatch(std::function<void()> on_gone) {
  on_gone_ = std::move(on_gone);
  watching_ = true;
  watch_running_ = true;
  // The coroutine's first argument is this; the completion handler holds it alive.
  asio::co_spawn(transport_->executor(), Watch(),
                 [self = shared_from_this()](const std::exception_ptr&) {
                   self->watch_running_ = false;
                   self->watch_ended_.cancel();
                 });
}

asio::awaitable<void> HttpExchange::Watch() {
  while (watching_ && buffer_.size() < kMaxAheadBytes) {
    const ErrorCode ec = co_await transport_->ReadSome(buffer_, HttpTransport::kNever);
    if (!ec) continue;
    if (watching_) {
      gone_ = true;
      if (on_gone_) on_gone_();
    }
    break;
  }
}

asio::awaitable<void> HttpExchange::StopWatch() {
  watching_ = false;
  transport_->CancelRead();
  while (watch_running_) {
    ErrorCode ignored;
    co_await watch_ended_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  on_gone_ = nullptr;
}

}  // namespace skipserve
