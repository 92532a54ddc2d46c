// Cuts a template into tokens and settles its white space, with trim_blocks and lstrip_blocks on as
// transformers sets them. It does not know the grammar. A plain function, safe from any thread.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace skipserve::jinja {

struct Token {
  enum class Kind {
    kData,
    kPrintBegin,
    kPrintEnd,
    kBlockBegin,
    kBlockEnd,
    kName,
    kString,
    kInteger,
    kFloat,
    kOperator,
    kEnd
  };
  Kind kind = Kind::kEnd;
  std::string
      text;  // data, a name, an operator, a number's digits, or a string with its escapes resolved
  int line = 1;
};

// INVALID_ARGUMENT naming the line. The last token is kEnd.
absl::StatusOr<std::vector<Token>> Tokenize(const std::string& source);

// How every error about a template reads.
absl::Status TemplateError(int line, const std::string& message);

}  // namespace skipserve::jinja
