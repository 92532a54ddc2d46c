// What a test does to the fake engine and sees of it.
#include <utility>

#include "tests/support/fake_engine.h"

namespace skipserve {

template <typename Predicate>
bool FakeEngine::Await(Predicate predicate) const {
  absl::MutexLock lock(&mutex_);
  return mutex_.AwaitWithTimeout(absl::Condition(&predicate), absl::Seconds(30));
}

void FakeEngine::RefuseNext(std::vector<absl::Status> statuses) {
  absl::MutexLock lock(&mutex_);
  for (absl::Status& status : statuses) refusals_.push_back(std::move(status));
}

void FakeEngine::SetFallbacks(std::vector<LevelFallback> fallbacks) {
  absl::MutexLock lock(&mutex_);
  fallbacks_ = std::move(fallbacks);
}

void FakeEngine::Pause() {
  absl::MutexLock lock(&mutex_);
  paused_ = true;
}

void FakeEngine::Resume() {
  absl::MutexLock lock(&mutex_);
  paused_ = false;
  wake_.Signal();
}

std::vector<GenerateRequest> FakeEngine::requests() const {
  absl::MutexLock lock(&mutex_);
  return requests_;
}

std::vector<PrefixRequest> FakeEngine::prefix_requests() const {
  absl::MutexLock lock(&mutex_);
  return prefix_requests_;
}

int64_t FakeEngine::cancelled() const {
  absl::MutexLock lock(&mutex_);
  return cancelled_;
}

int64_t FakeEngine::tokens_made() const {
  absl::MutexLock lock(&mutex_);
  return tokens_;
}

bool FakeEngine::WaitForRequests(int64_t count) const {
  return Await([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return static_cast<int64_t>(requests_.size()) >= count;
  });
}

bool FakeEngine::WaitForPrefixRequests(int64_t count) const {
  return Await([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return static_cast<int64_t>(prefix_requests_.size()) >= count;
  });
}

bool FakeEngine::WaitForCancelled(int64_t count) const {
  return Await([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return cancelled_ >= count; });
}

bool FakeEngine::WaitForTokens(int64_t count) const {
  return Await([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return tokens_ >= count; });
}

bool FakeEngine::WaitForIdle() const {
  return Await([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return running_.empty(); });
}

void FakeEngine::SetRetryAfter(absl::Duration after) {
  absl::MutexLock lock(&mutex_);
  retry_after_ = after;
}

}  // namespace skipserve
