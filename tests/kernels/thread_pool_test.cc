// The thread pool: every task runs once, results are visible, and sleeping workers wake.
#include "kernels/cpu/thread_pool.h"

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace skipserve::cpu {
namespace {

TEST(ThreadPool, RunsEveryTaskOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (int64_t n = 0; n < 300; ++n) {
      std::vector<int> runs(n, 0);  // plain ints: ParallelFor must order them before its return
      pool.ParallelFor(n, [&](int64_t task, int thread) {
        ASSERT_GE(thread, 0);
        ASSERT_LT(thread, threads);
        ++runs[task];
      });
      for (const int r : runs) ASSERT_EQ(r, 1);
    }
  }
}

TEST(ThreadPool, AFailedTaskIsThrownOnceAllHaveEnded) {
  for (const int threads : {1, 2, 4}) {
    ThreadPool pool(threads);
    for (int round = 0; round < 100; ++round) {
      std::atomic<int> ended{0};
      const auto run = [&](int64_t bad) {
        pool.ParallelFor(20, [&](int64_t task, int) {
          if (task == bad) throw std::runtime_error("no memory");
          ++ended;
        });
      };
      EXPECT_THROW(run(round % 20), std::runtime_error);
      if (threads > 1) {
        EXPECT_EQ(ended, 19);
      }
      ended = 0;
      run(-1);  // and the pool still works
      EXPECT_EQ(ended, 20);
    }
  }
}

TEST(ThreadPool, WakesSleepingWorkers) {
  ThreadPool pool(3);
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // longer than workers spin
    std::atomic<int> arrived{0};
    // Each task waits for the other two: it ends only if all three threads take part.
    pool.ParallelFor(3, [&](int64_t, int) {
      ++arrived;
      while (arrived < 3) std::this_thread::yield();
    });
    EXPECT_EQ(arrived, 3);
  }
}

TEST(ThreadPool, EndsAtOnceWhenUnused) {
  for (int round = 0; round < 50; ++round) ThreadPool pool(4);
}

}  // namespace
}  // namespace skipserve::cpu
