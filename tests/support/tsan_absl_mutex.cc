// Tells the thread sanitizer of absl's Mutex, CondVar and Notification, which the distribution's
// library was built without: each function here calls the library's and says what it orders. Linked
// into tests of the tsan build only.
#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

#include <cstdlib>
#include <string>
#include <type_traits>
#include <typeinfo>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"

extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
}

namespace {

// The library's member function; `rest` is its mangled name after the class.
template <typename Class, typename Function>
Function* Real(const char* rest) {
  const std::string type = typeid(Class).name();  // "N4absl...5MutexE"
  const std::string symbol =
      (std::is_const_v<Class> ? "_ZNK" : "_ZN") + type.substr(1, type.size() - 2) + rest;
  void* found = dlsym(RTLD_NEXT, symbol.c_str());
  if (found == nullptr) std::abort();
  return reinterpret_cast<Function*>(found);
}

// Whoever gives a mutex up looks at the conditions of those who wait, after the release that we
// announce.
class QuietReads {
 public:
  QuietReads() { AnnotateIgnoreReadsBegin(__FILE__, __LINE__); }
  ~QuietReads() { AnnotateIgnoreReadsEnd(__FILE__, __LINE__); }
};

// A wait gives the mutex up and takes it again.
template <typename Call>
auto Waiting(absl::Mutex* mutex, Call call) {
  struct Around {
    explicit Around(absl::Mutex* m) : mutex(m) { __tsan_release(mutex); }
    ~Around() { __tsan_acquire(mutex); }
    absl::Mutex* mutex;
    QuietReads quiet;
  } around(mutex);
  return call();
}

}  // namespace

namespace absl {
ABSL_NAMESPACE_BEGIN

void Mutex::Lock() {
  static auto* const real = Real<Mutex, void(Mutex*)>("4LockEv");
  real(this);
  __tsan_acquire(this);
}

void Mutex::Unlock() {
  static auto* const real = Real<Mutex, void(Mutex*)>("6UnlockEv");
  __tsan_release(this);
  const QuietReads quiet;
  real(this);
}

bool Mutex::TryLock() {
  static auto* const real = Real<Mutex, bool(Mutex*)>("7TryLockEv");
  const bool locked = real(this);
  if (locked) __tsan_acquire(this);
  return locked;
}

void Mutex::ReaderLock() {
  static auto* const real = Real<Mutex, void(Mutex*)>("10ReaderLockEv");
  real(this);
  __tsan_acquire(this);
}

void Mutex::ReaderUnlock() {
  static auto* const real = Real<Mutex, void(Mutex*)>("12ReaderUnlockEv");
  __tsan_release(this);
  const QuietReads quiet;
  real(this);
}

void Mutex::Await(const Condition& condition) {
  static auto* const real = Real<Mutex, void(Mutex*, const Condition&)>("5AwaitERKNS0_9ConditionE");
  Waiting(this, [&] { real(this, condition); });
}

bool Mutex::AwaitWithTimeout(const Condition& condition, Duration timeout) {
  static auto* const real = Real<Mutex, bool(Mutex*, const Condition&, Duration)>(
      "16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE");
  return Waiting(this, [&] { return real(this, condition, timeout); });
}

bool Mutex::AwaitWithDeadline(const Condition& condition, Time deadline) {
  static auto* const real = Real<Mutex, bool(Mutex*, const Condition&, Time)>(
      "17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE");
  return Waiting(this, [&] { return real(this, condition, deadline); });
}

void Mutex::LockWhen(const Condition& condition) {
  static auto* const real =
      Real<Mutex, void(Mutex*, const Condition&)>("8LockWhenERKNS0_9ConditionE");
  {
    const QuietReads quiet;
    real(this, condition);
  }
  __tsan_acquire(this);
}

void CondVar::Wait(Mutex* mutex) {
  static auto* const real = Real<CondVar, void(CondVar*, Mutex*)>("4WaitEPNS0_5MutexE");
  Waiting(mutex, [&] { real(this, mutex); });
}

bool CondVar::WaitWithTimeout(Mutex* mutex, Duration timeout) {
  static auto* const real = Real<CondVar, bool(CondVar*, Mutex*, Duration)>(
      "15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE");
  return Waiting(mutex, [&] { return real(this, mutex, timeout); });
}

bool CondVar::WaitWithDeadline(Mutex* mutex, Time deadline) {
  static auto* const real =
      Real<CondVar, bool(CondVar*, Mutex*, Time)>("16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE");
  return Waiting(mutex, [&] { return real(this, mutex, deadline); });
}

void Notification::Notify() {
  static auto* const real = Real<Notification, void(Notification*)>("6NotifyEv");
  __tsan_release(this);
  real(this);
}

void Notification::WaitForNotification() const {
  static auto* const real =
      Real<const Notification, void(const Notification*)>("19WaitForNotificationEv");
  real(this);
  __tsan_acquire(const_cast<Notification*>(this));
}

bool Notification::WaitForNotificationWithTimeout(Duration timeout) const {
  static auto* const real = Real<const Notification, bool(const Notification*, Duration)>(
      "30WaitForNotificationWithTimeoutENS0_8DurationE");
  const bool notified = real(this, timeout);
  if (notified) __tsan_acquire(const_cast<Notification*>(this));
  return notified;
}

ABSL_NAMESPACE_END
}  // namespace absl
