// A chat template's source to its tree. Jinja's inheritance, imports, raw blocks and calls of
// macros with a body are not known: each is an error that names it. Plain functions, safe from any
// thread.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "engine/jinja_ast.h"

namespace skipserve::jinja {

// INVALID_ARGUMENT naming the line and what is wrong with it or not supported.
absl::StatusOr<Block> ParseTemplate(const std::string& source);

}  // namespace skipserve::jinja
