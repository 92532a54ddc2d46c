// One request and its answer on one connection: handlers reply through it, whole or as a stream,
// and learn through it that the client has gone. On the connection's strand.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "server/http_message.h"
#include "server/http_transport.h"

namespace skipserve {

class HttpExchange : public std::enable_shared_from_this<HttpExchange> {
 public:
  // `buffer` is the connection's: what a client sends ahead while it is being watched is kept
  // there.
  HttpExchange(std::shared_ptr<HttpTransport> transport, boost::beast::flat_buffer& buffer,
               HttpRequest request, bool keep_alive, Clock::duration write_timeout);

  const HttpRequest& request() const { return request_; }
  HttpRequest& request() { return request_; }
  asio::any_io_executor executor() { return transport_->executor(); }

  // Every reply from now on has it as its X-Request-Id.
  void set_id(std::string id) { id_ = std::move(id); }

  // Exactly one of Reply or BeginStream .. EndStream. False: the client is gone.
  asio::awaitable<bool> Reply(HttpReply reply);
  asio::awaitable<bool> BeginStream(HttpReply head);  // the reply's body is not used
  asio::awaitable<bool> Send(std::string bytes);
  asio::awaitable<bool> EndStream();

  // From now on the connection is read, so that its end is noticed at once: `on_gone` is then
  // called. A client that closes only its sending side counts as gone, as there is no telling the
  // two apart.
  void StartWatch(std::function<void()> on_gone);
  asio::awaitable<void> StopWatch();

  bool replied() const { return replied_; }
  // Whether the connection can take another request.
  bool reusable() const { return keep_alive_ && finished_ && !gone_; }
  bool gone() const { return gone_; }

 private:
  asio::awaitable<void> Watch();
  asio::awaitable<bool> Write(std::string bytes);
  std::string Head(HttpReply& reply, std::optional<uint64_t> length) const;

  std::shared_ptr<HttpTransport> transport_;
  boost::beast::flat_buffer& buffer_;
  HttpRequest request_;
  std::string id_;
  bool keep_alive_;
  Clock::duration write_timeout_;
  bool replied_ = false;
  bool finished_ = false;
  bool gone_ = false;
  bool watching_ = false;
  bool watch_running_ = false;
  std::function<void()> on_gone_;
  asio::steady_timer watch_ended_;
};

}  // namespace skipserve
