// One client's connection: reads a request, has it answered, and again while both sides want to.
// Everything happens on the connection's strand; RequestStop and Abort may be called from any
// thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <memory>

#include "server/http_context.h"
#include "server/http_transport.h"

namespace skipserve {

class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  HttpConnection(HttpContext& context, asio::ip::tcp::socket socket);

  // Ends with the connection. The caller holds the object until then. Without `room` it is one
  // client too many, and gets a 503.
  asio::awaitable<void> Run(bool room);

  // Closes once the reply under way, if any, is out.
  void RequestStop();
  // Closes now; a handler sees its client gone.
  void Abort();

  asio::any_io_executor executor() { return transport_->executor(); }

 private:
  asio::awaitable<void> Refuse();
  // False: the connection must close.
  asio::awaitable<bool> ServeOne();

  HttpContext& context_;
  std::shared_ptr<HttpTransport> transport_;
  boost::beast::flat_buffer buffer_;
  bool reading_ = false;
};

}  // namespace skipserve
