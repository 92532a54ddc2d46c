// Bytes of request bodies held by all connections together, so that many bodies within the limit
// cannot fill the memory.
#pragma once

#include <atomic>
#include <cstdint>

namespace skipserve {

struct HttpBodyBudget {
  std::atomic<int64_t> used{0};
  int64_t limit = 0;
};

// What one request holds of the budget; given back when it is destroyed.
class HttpBodyCharge {
 public:
  explicit HttpBodyCharge(HttpBodyBudget& budget) : budget_(budget) {}
  ~HttpBodyCharge() { budget_.used -= held_; }
  HttpBodyCharge(const HttpBodyCharge&) = delete;
  HttpBodyCharge& operator=(const HttpBodyCharge&) = delete;
  // False where the budget is spent.
  bool GrowTo(int64_t bytes) {
    const int64_t more = bytes - held_;
    held_ = bytes;
    return (budget_.used += more) <= budget_.limit;
  }

 private:
  HttpBodyBudget& budget_;
  int64_t held_ = 0;
};

}  // namespace skipserve
