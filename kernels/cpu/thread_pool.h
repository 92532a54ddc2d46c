// A few threads that run the tasks of one ParallelFor at a time, the calling thread among them. No
// queue, no futures. ParallelFor is called by one thread at a time and not from inside a task.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace skipserve::cpu {

class ThreadPool {
 public:
  explicit ThreadPool(int threads);  // >= 1, the calling thread included
  ~ThreadPool();

  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls fn(task, thread) for each task in [0, num_tasks), 0 <= thread < threads(), and returns
  // when all are done. Tasks are handed out in ascending order; which thread runs which is left to
  // chance. Throws what the first task to fail threw, once the others have ended.
  template <class Fn>
  void ParallelFor(int64_t num_tasks, Fn&& fn) {
    if (num_tasks <= 1 || workers_.empty()) {
      for (int64_t task = 0; task < num_tasks; ++task) fn(task, 0);
      return;
    }
    using Body = std::remove_reference_t<Fn>;
    Run(
        num_tasks,
        [](void* body, int64_t task, int thread) { (*static_cast<Body*>(body))(task, thread); },
        const_cast<void*>(static_cast<const void*>(std::addressof(fn))));
  }

 private:
  using Call = void (*)(void* body, int64_t task, int thread);

  void Run(int64_t num_tasks, Call call, void* body);
  void Work(int thread);
  bool RunOneTask(uint32_t epoch, int thread);
  uint32_t AwaitEpochAfter(uint32_t seen);

  // Epoch of the current job in the upper half, its next unclaimed task in the lower: a claim is
  // one compare-exchange, and a thread that comes late to a finished job cannot take a task of the
  // next one by mistake.
  alignas(64) std::atomic<uint64_t> ticket_{0};
  alignas(64) std::atomic<int64_t> unfinished_{0};
  alignas(64) std::atomic<int64_t> num_tasks_{0};
  std::atomic<Call> call_{nullptr};
  std::atomic<void*> body_{nullptr};
  std::atomic<int> sleepers_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::exception_ptr failure_;  // guarded by mutex_: of the current job's first failed task
  std::vector<std::thread> workers_;
};

}  // namespace skipserve::cpu
