// Reads one HTTP/1.x request from a connection within limits of size and time. Parsing is Beast's;
// the time limits are ours. On the connection's strand.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <cstdint>
#include <optional>

#include "server/http_message.h"
#include "server/http_transport.h"

namespace skipserve {

struct HttpReadLimits {
  uint32_t header_bytes = 16 << 10;
  uint64_t body_bytes = 0;
  Clock::duration header_timeout{};
  Clock::duration body_timeout{};  // and a second more for every 64 KiB that came
};

struct HttpReadResult {
  bool closed = false;            // the peer went, or sent nothing: there is nobody to answer
  std::optional<ApiError> error;  // to be answered, and then the connection must close
  HttpRequest request;            // else
};

// The first byte must have come already or be about to: the header's time runs from the call.
asio::awaitable<HttpReadResult> ReadHttpRequest(HttpTransport& transport,
                                                boost::beast::flat_buffer& buffer,
                                                const HttpReadLimits& limits,
                                                HttpBodyBudget& bodies);

}  // namespace skipserve
