// One client's socket with time limits on every read and write. Knows no HTTP. All calls and
// completions happen on the socket's own strand. A write never raises SIGPIPE (Asio sends with
// MSG_NOSIGNAL).
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <chrono>
#include <cstdint>
#include <memory>

#include "absl/strings/string_view.h"

namespace skipserve {

namespace asio = boost::asio;
using ErrorCode = boost::system::error_code;
using Clock = std::chrono::steady_clock;

class HttpTransport : public std::enable_shared_from_this<HttpTransport> {
 public:
  static constexpr Clock::time_point kNever = Clock::time_point::max();

  // The socket's executor must be a strand.
  explicit HttpTransport(asio::ip::tcp::socket socket);

  // Appends what has come to `buffer`. timed_out at the deadline, and the socket stays usable; eof,
  // or operation_aborted after CancelRead.
  asio::awaitable<ErrorCode> ReadSome(boost::beast::flat_buffer& buffer,
                                      Clock::time_point deadline);

  // Every 64 KiB must be taken by the peer within `timeout`, else the socket is closed.
  asio::awaitable<ErrorCode> Write(absl::string_view bytes, Clock::duration timeout);

  // Tells the peer that no more comes, and reads what it still sends, within bounds, so that
  // closing does not reset the connection before the peer has read our reply.
  asio::awaitable<void> Linger(Clock::duration timeout);

  // Only while no write is under way.
  void CancelRead();
  void Close();
  asio::any_io_executor executor() { return socket_.get_executor(); }

 private:
  // Runs `action` at `deadline` unless the turn has passed by then.
  void Arm(asio::steady_timer& timer, Clock::time_point deadline, uint64_t turn, bool reading);

  asio::ip::tcp::socket socket_;
  asio::steady_timer read_timer_;
  asio::steady_timer write_timer_;
  uint64_t read_turn_ = 0;
  uint64_t write_turn_ = 0;
  bool read_expired_ = false;
};

}  // namespace skipserve
