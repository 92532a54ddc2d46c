// Whether bytes from a file are text that may go into messages and JSON. A pure function.
#pragma once

#include "absl/strings/string_view.h"
#include "engine/utf8.h"

namespace skipserve {

inline bool IsValidUtf8(absl::string_view text) { return ValidUtf8Length(text) == text.size(); }

}  // namespace skipserve
