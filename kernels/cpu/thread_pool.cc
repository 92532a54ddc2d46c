#include "kernels/cpu/thread_pool.h"

#include <chrono>
#include <utility>

#include "hwy/cache_control.h"

namespace skipserve::cpu {
namespace {

constexpr uint64_t kClosed = 0xFFFFFFFFu;  // no task to claim
// The gap between two operations of a decode step is a few microseconds, a sleep and wake-up costs
// about 50.
constexpr auto kSpin = std::chrono::microseconds(50);

uint64_t Ticket(uint32_t epoch, uint64_t next) { return uint64_t{epoch} << 32 | next; }

// Calls done() until it holds or the spin is over; returns whether it held.
template <class Done>
bool SpinUntil(Done done) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {
      if (done()) return true;
      hwy::Pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  return done();
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  for (int t = 1; t < threads; ++t) workers_.emplace_back([this, t] { Work(t); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& w : workers_) w.join();
}

void ThreadPool::Run(int64_t num_tasks, Call call, void* body) {
  const uint32_t epoch = static_cast<uint32_t>(ticket_.load() >> 32) + 1;
  ticket_.store(Ticket(epoch, kClosed));
  num_tasks_.store(num_tasks);
  call_.store(call);
  body_.store(body);
  unfinished_.store(num_tasks);
  ticket_.store(Ticket(epoch + 1, 0));
  if (sleepers_.load() > 0) {
    { std::lock_guard<std::mutex> lock(mutex_); }
    wake_.notify_all();
  }
  while (RunOneTask(epoch + 1, 0)) {
  }
  const auto done = [this] { return unfinished_.load(std::memory_order_acquire) == 0; };
  while (!SpinUntil(done)) std::this_thread::yield();
  // Every task has ended, so nobody else touches it.
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

bool ThreadPool::RunOneTask(uint32_t epoch, int thread) {
  uint64_t ticket = ticket_.load();
  for (;;) {
    const int64_t task = static_cast<int64_t>(ticket & kClosed);
    if (ticket >> 32 != epoch || task >= num_tasks_.load()) return false;
    if (ticket_.compare_exchange_weak(ticket, ticket + 1)) {
      try {
        call_.load()(body_.load(), task, thread);
      } catch (...) {
        std::lock_guard<std::mutex> lock(mutex_);
        if (!failure_) failure_ = std::current_exception();
      }
      unfinished_.fetch_sub(1, std::memory_order_acq_rel);
      return true;
    }
  }
}

uint32_t ThreadPool::AwaitEpochAfter(uint32_t seen) {
  const auto epoch = [this] { return static_cast<uint32_t>(ticket_.load() >> 32); };
  const auto changed = [&] { return epoch() != seen || stop_.load(); };
  if (!SpinUntil(changed)) {
    std::unique_lock<std::mutex> lock(mutex_);
    sleepers_.fetch_add(1);
    wake_.wait(lock, changed);
    sleepers_.fetch_sub(1);
  }
  return epoch();
}

void ThreadPool::Work(int thread) {
  uint32_t seen = 0;
  for (;;) {
    seen = AwaitEpochAfter(seen);
    if (stop_.load()) return;
    while (RunOneTask(seen, thread)) {
    }
  }
}

}  // namespace skipserve::cpu
