// Reads a request body as JSON without letting its shape hurt: depth and number of values are
// bounded before anything is allocated, and only a lack of memory is thrown. Pure functions.
#pragma once

#include <optional>

#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"
#include "server/openai_error.h"

namespace skipserve {

struct JsonLimits {
  int max_depth = 64;
  // Values in the whole body; a prompt of a million token ids is a million values.
  size_t max_values = size_t{4} << 20;
};

// The body must be one JSON object in UTF-8. Returns what is wrong, naming the top-level field in
// which it went wrong where there is one; `out` is set otherwise. Of a name given twice the last
// value counts.
std::optional<ApiError> ParseJsonObject(absl::string_view body, nlohmann::json* out,
                                        const JsonLimits& limits = {});

}  // namespace skipserve
