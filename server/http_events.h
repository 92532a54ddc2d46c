// The way of events from the engine's step thread to one response: a queue that the step thread
// fills without ever waiting and that the response's coroutine empties at the client's pace. Its
// size is bounded by what the request may generate.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "server/completion.h"
#include "server/http_transport.h"

namespace skipserve {

struct HttpEvent {
  int choice = 0;
  std::variant<TokenEvent, FinishEvent> what;
};

class HttpEvents : public CompletionListener, public std::enable_shared_from_this<HttpEvents> {
 public:
  // `strand` is that of the response.
  explicit HttpEvents(asio::any_io_executor strand);

  // Any thread.
  void OnToken(int choice, TokenEvent event) override { Push({choice, std::move(event)}); }
  void OnFinish(int choice, FinishEvent event) override { Push({choice, std::move(event)}); }

  // The rest on the strand only.
  // Events so far, a few hundred at most so that one write stays small; waits for the first one
  // until `deadline` or Wake. May be empty.
  asio::awaitable<std::vector<HttpEvent>> Take(Clock::time_point deadline);
  void Wake();
  // Nobody will take events any more: later ones are dropped, and nothing of Asio's is held, so
  // that the engine may keep the listener longer than the server lives.
  void Detach();

 private:
  void Push(HttpEvent event);
  void Arrived();

  struct Wiring {
    asio::any_io_executor strand;
    asio::steady_timer arrived;
  };
  std::mutex mutex_;
  std::deque<HttpEvent> events_;  // guarded by mutex_
  bool posted_ = false;           // guarded by mutex_: a wake-up is on its way
  bool woken_ = false;            // strand only
  std::optional<Wiring> wiring_;  // guarded by mutex_; changed on the strand only
};

}  // namespace skipserve
