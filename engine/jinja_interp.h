// Runs a parsed template. Work, output and recursion are bounded; it neither parses nor knows what
// a chat is. A plain function, safe from any thread.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/jinja_ast.h"

namespace skipserve::jinja {

struct Limits {
  size_t work = 0;    // in about one byte copied; an expression's node counts as four
  size_t output = 0;  // bytes
};

// INVALID_ARGUMENT naming the line, where the template raises an exception, meets a wrong type or
// passes a limit.
absl::StatusOr<Text> Interpret(const Block& program,
                               std::vector<std::pair<std::string, Value>> variables,
                               const Limits& limits, absl::Time now);

}  // namespace skipserve::jinja
