// Whether a request is one the model can serve. Pure.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "engine/engine.h"

namespace skipserve {

// The answer's limit in tokens, defaults filled in. INVALID_ARGUMENT naming the field and what it
// may be.
absl::StatusOr<int64_t> CheckRequest(const GenerateRequest& request, const ModelInfo& info);

}  // namespace skipserve
