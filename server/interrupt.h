// Ctrl-C and SIGTERM, for the server and the tools: the first one calls an action, the second one
// ends the process. One at a time in a process. OnInterrupt may be called from any thread.
#pragma once

#include <signal.h>

#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace skipserve {

class Interrupt {
 public:
  // Before other threads start, so that they inherit the signal mask: SIGINT and SIGTERM then come
  // to this one alone. `action` as for OnInterrupt.
  explicit Interrupt(std::function<void()> action = nullptr);
  ~Interrupt();

  // What the next signal does, on a thread of its own; none: it ends the process, as it also does
  // when it has acted once. Returns when the action before is no longer running.
  void OnInterrupt(std::function<void()> action);

  bool interrupted() const;

 private:
  void Wait();

  sigset_t signals_;
  sigset_t before_;
  mutable absl::Mutex mutex_;
  std::function<void()> action_ ABSL_GUARDED_BY(mutex_);
  bool interrupted_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

inline constexpr int kExitInterrupted = 130;  // as shells say it: 128 + SIGINT

}  // namespace skipserve
