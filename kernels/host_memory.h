// Host memory for the backends that compute on the host. Thread-safe.
#pragma once

#include <cstddef>

#include "absl/status/statusor.h"
#include "kernels/tensor.h"

namespace skipserve {

// Uninitialised and aligned to 64 bytes. RESOURCE_EXHAUSTED where there is not so much.
absl::StatusOr<Buffer> AllocateHost(size_t bytes);

}  // namespace skipserve
