#include "server/interrupt.h"

#include <pthread.h>
#include <unistd.h>

#include <utility>

namespace skipserve {

Interrupt::Interrupt(std::function<void()> action) : action_(std::move(action)) {
  sigemptyset(&signals_);
  sigaddset(&signals_, SIGINT);
  sigaddset(&signals_, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals_, &before_);
  thread_ = std::thread([this] { Wait(); });
}

Interrupt::~Interrupt() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  pthread_kill(thread_.native_handle(), SIGINT);
  thread_.join();
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

void Interrupt::OnInterrupt(std::function<void()> action) {
  absl::MutexLock lock(&mutex_);
  action_ = std::move(action);
}

bool Interrupt::interrupted() const {
  absl::MutexLock lock(&mutex_);
  return interrupted_;
}

void Interrupt::Wait() {
  while (true) {
    int signal = 0;
    if (sigwait(&signals_, &signal) != 0) continue;
    absl::MutexLock lock(&mutex_);
    if (stopping_) return;
    if (!action_ || interrupted_) _exit(128 + signal);
    interrupted_ = true;
    action_();
  }
}

}  // namespace skipserve
