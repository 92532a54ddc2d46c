#include "server/http_events.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <iterator>
#include <utility>

namespace skipserve {
namespace {

constexpr size_t kMaxTaken = 256;

}  // namespace

HttpEvents::HttpEvents(asio::any_io_executor strand)
    : wiring_(Wiring{strand, asio::steady_timer(strand)}) {}

void HttpEvents::Push(HttpEvent event) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!wiring_) return;
  events_.push_back(std::move(event));
  if (posted_) return;
  posted_ = true;
  // Under the lock, so that no wake-up can be posted after Detach.
  asio::post(wiring_->strand, [self = shared_from_this()] { self->Arrived(); });
}

asio::awaitable<std::vector<HttpEvent>> HttpEvents::Take(Clock::time_point deadline) {
  for (;;) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!events_.empty() || woken_ || !wiring_ || Clock::now() >= deadline) {
        woken_ = false;
        const size_t count = std::min(events_.size(), kMaxTaken);
        std::vector<HttpEvent> taken(std::make_move_iterator(events_.begin()),
                                     std::make_move_iterator(events_.begin() + count));
        events_.erase(events_.begin(), events_.begin() + count);
        co_return taken;
      }
    }
    wiring_->arrived.expires_at(deadline);
    ErrorCode ignored;
    co_await wiring_->arrived.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
}

void HttpEvents::Arrived() {
  const std::lock_guard<std::mutex> lock(mutex_);
  posted_ = false;
  if (wiring_) wiring_->arrived.cancel();
}

void HttpEvents::Wake() {
  woken_ = true;
  if (wiring_) wiring_->arrived.cancel();
}

void HttpEvents::Detach() {
  const std::lock_guard<std::mutex> lock(mutex_);
  wiring_.reset();
  events_.clear();
}

}  // namespace skipserve
