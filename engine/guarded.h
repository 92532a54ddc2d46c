// Turns what a backend throws into a status: it may find no memory, or fail to build a kernel.
#pragma once

#include <exception>
#include <new>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace skipserve {

// What `work` returns (a Status or StatusOr), or a status of what it throws.
template <typename Work>
std::invoke_result_t<Work> Guarded(Work work) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        "the server ran out of memory on this request; try a shorter one");
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat("a step failed: ", e.what()));
  }
}

}  // namespace skipserve
