// Whether bytes from a file are text that may go into messages and JSON. A pure function.
#pragma once

#include "absl/strings/string_view.h"

namespace skipserve {

// Well-formed UTF-8: no overlong forms, surrogates or code points above U+10FFFF.
bool IsValidUtf8(absl::string_view text);

}  // namespace skipserve
