// How long work tells how far it is.
#pragma once

#include <cstdint>
#include <functional>

#include "absl/strings/string_view.h"

namespace skipserve {

using Progress = std::function<void(absl::string_view stage, int64_t done, int64_t total)>;

}  // namespace skipserve
