#include "server/http_transport.h"

#include <algorithm>
#include <boost/asio/error.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <utility>

namespace skipserve {
namespace {

constexpr size_t kReadBytes = size_t{64} << 10;
constexpr size_t kWriteBytes = size_t{64} << 10;
constexpr size_t kLingerBytes = size_t{256} << 20;  // more than any body limit in use

}  // namespace

HttpTransport::HttpTransport(asio::ip::tcp::socket socket)
    : socket_(std::move(socket)),
      read_timer_(socket_.get_executor()),
      write_timer_(socket_.get_executor()) {
  ErrorCode ignored;
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);  // a token is one small packet
}

void HttpTransport::Arm(asio::steady_timer& timer, Clock::time_point deadline, uint64_t turn,
                        bool reading) {
  if (deadline == kNever) return;
  timer.expires_at(deadline);
  timer.async_wait([self = shared_from_this(), turn, reading](ErrorCode ec) {
    if (ec) return;
    if (reading && self->read_turn_ == turn) {
      self->read_expired_ = true;
      self->CancelRead();
    } else if (!reading && self->write_turn_ == turn) {
      self->Close();
    }
  });
}

asio::awaitable<ErrorCode> HttpTransport::ReadSome(boost::beast::flat_buffer& buffer,
                                                   Clock::time_point deadline) {
  const uint64_t turn = ++read_turn_;
  read_expired_ = false;
  Arm(read_timer_, deadline, turn, true);
  ErrorCode ec;
  const size_t bytes = co_await socket_.async_read_some(
      buffer.prepare(kReadBytes), asio::redirect_error(asio::use_awaitable, ec));
  ++read_turn_;
  read_timer_.cancel();
  buffer.commit(bytes);
  if (ec == asio::error::operation_aborted && read_expired_) ec = asio::error::timed_out;
  co_return ec;
}

asio::awaitable<ErrorCode> HttpTransport::Write(absl::string_view bytes, Clock::duration timeout) {
  ErrorCode ec;
  while (!bytes.empty() && !ec) {
    const absl::string_view part = bytes.substr(0, kWriteBytes);
    bytes.remove_prefix(part.size());
    const uint64_t turn = ++write_turn_;
    Arm(write_timer_, Clock::now() + timeout, turn, false);
    co_await asio::async_write(socket_, asio::buffer(part.data(), part.size()),
                               asio::redirect_error(asio::use_awaitable, ec));
    ++write_turn_;
    write_timer_.cancel();
  }
  co_return ec;
}

asio::awaitable<void> HttpTransport::Linger(Clock::duration timeout) {
  ErrorCode ec;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ec);
  const Clock::time_point deadline = Clock::now() + timeout;
  boost::beast::flat_buffer scratch;
  for (size_t total = 0; !ec && total < kLingerBytes;) {
    ec = co_await ReadSome(scratch, deadline);
    total += scratch.size();
    scratch.consume(scratch.size());
  }
  Close();
}

void HttpTransport::CancelRead() {
  ErrorCode ignored;
  socket_.cancel(ignored);
}

void HttpTransport::Close() {
  ErrorCode ignored;
  socket_.close(ignored);
}

}  // namespace skipserve
