#include "kernels/host_memory.h"

#include <cstdlib>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace skipserve {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kAddressSpace =
    size_t{1} << 47;  // x86-64 and AArch64 user space; no request beyond can be met

}  // namespace

absl::StatusOr<Buffer> AllocateHost(size_t bytes) {
  void* data = nullptr;
  if (bytes < kAddressSpace) {
    const size_t rounded = (bytes + kAlignment) / kAlignment * kAlignment;  // never zero
    data = std::aligned_alloc(kAlignment, rounded);
  }
  if (data == nullptr) {
    return absl::ResourceExhaustedError(absl::StrCat("cannot allocate ", bytes, " bytes"));
  }
  return Buffer(data, bytes, [](void* p) { std::free(p); });
}

}  // namespace skipserve
