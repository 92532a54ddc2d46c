// What needs Unicode's tables: normal form C, letter case, white space. A thin cover over ICU.
// Plain functions, safe from any thread; the texts must be valid UTF-8 (what is broken may come out
// as U+FFFD).
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace skipserve {

std::string ToNfc(absl::string_view text);
std::string ToUpper(absl::string_view text);
std::string ToLower(absl::string_view text);

// White space as Python's str.isspace() has it: Unicode's, and the separators U+001C to U+001F.
bool IsSpace(uint32_t code_point);

}  // namespace skipserve
