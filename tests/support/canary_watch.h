// An observer that remembers what the engine tells of canaries and levels. Thread-safe.
#pragma once

#include <gtest/gtest.h>

#include <vector>

#include "absl/synchronization/mutex.h"
#include "engine/engine.h"

namespace skipserve::testing {

class CanaryWatch : public EngineObserver {
 public:
  void OnStep(absl::Duration /*duration*/, int64_t /*decode_tokens*/,
              int64_t /*prefill_tokens*/) override {}
  void OnCanary(const CanaryEvent& event) override {
    absl::MutexLock lock(&mutex_);
    events_.push_back(event);
  }
  void OnLevelChange(const LevelChange& change) override {
    absl::MutexLock lock(&mutex_);
    changes_.push_back(change);
  }

  // All so far, once there are `count`.
  std::vector<CanaryEvent> Wait(size_t count) {
    absl::MutexLock lock(&mutex_);
    const auto there = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return events_.size() >= count;
    };
    EXPECT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&there), absl::Minutes(2)))
        << events_.size() << " canaries of " << count;
    return events_;
  }
  // A change follows its canary at once, but not within one lock.
  std::vector<LevelChange> WaitForChanges(size_t count) {
    absl::MutexLock lock(&mutex_);
    const auto there = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return changes_.size() >= count;
    };
    EXPECT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&there), absl::Minutes(2)))
        << changes_.size() << " changes of " << count;
    return changes_;
  }
  size_t changes() {
    absl::MutexLock lock(&mutex_);
    return changes_.size();
  }

 private:
  absl::Mutex mutex_;
  std::vector<CanaryEvent> events_ ABSL_GUARDED_BY(mutex_);
  std::vector<LevelChange> changes_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace skipserve::testing
