// Working memory that grows and is kept: one per thread, so that a kernel in steady state allocates
// nothing. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>

#include "kernels/host_memory.h"

namespace skipserve::cpu {

class Scratch {
 public:
  // At least `bytes`, aligned to 64; the contents of an earlier call are gone.
  void* Bytes(size_t bytes) {
    if (bytes > buffer_.bytes()) {
      buffer_ = Buffer();
      absl::StatusOr<Buffer> grown = AllocateHost(bytes + bytes / 4);
      if (!grown.ok()) throw std::bad_alloc();
      buffer_ = *std::move(grown);
    }
    return buffer_.data();
  }
  float* Floats(size_t n) { return static_cast<float*>(Bytes(n * sizeof(float))); }

 private:
  Buffer buffer_;
};

}  // namespace skipserve::cpu
