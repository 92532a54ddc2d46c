// Host memory for the backends that compute on the host.
#pragma once

#include <cstddef>
#include <memory>

#include "absl/status/statusor.h"
#include "kernels/tensor.h"

namespace skipserve {

// Uninitialised and aligned to 64 bytes; on huge pages where it is large and the system has them.
// RESOURCE_EXHAUSTED where there is not so much. Thread-safe.
absl::StatusOr<Buffer> AllocateHost(size_t bytes);

// Hands out pieces of a few large allocations, so that small buffers lie on huge pages too. For
// what lives and goes together, such as weights: a piece keeps all of its slab. Not thread-safe.
class HostSlabs {
 public:
  absl::StatusOr<Buffer> Allocate(size_t bytes);

 private:
  std::shared_ptr<Buffer> slab_;
  size_t used_ = 0;
};

}  // namespace skipserve
