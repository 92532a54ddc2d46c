// Hands out pieces of one allocation, each aligned to a cache line. Over a base of one byte it
// measures what it would take.
#pragma once

#include <cstddef>

namespace skipserve::cpu {

class Carver {
 public:
  explicit Carver(std::byte* base) : base_(base) {}

  template <class T>
  T* Take(size_t count) {
    T* at = reinterpret_cast<T*>(base_ + used_);
    used_ += (count * sizeof(T) + 63) / 64 * 64;
    return at;
  }
  size_t used() const { return used_; }

 private:
  std::byte* base_;
  size_t used_ = 0;
};

}  // namespace skipserve::cpu
