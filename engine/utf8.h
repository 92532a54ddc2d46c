// Reading and repairing UTF-8, with the replacement rule of the Unicode standard (one U+FFFD for
// each maximal broken prefix). It knows nothing of characters' properties. Plain functions, safe
// from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace skipserve {

inline constexpr uint32_t kReplacementCharacter = 0xFFFD;

// What stands at one place of a text: a well-formed character, or the longest beginning of one that
// breaks off there.
struct Utf8Char {
  uint32_t code_point = kReplacementCharacter;
  size_t length = 1;       // bytes, at least one
  bool valid = false;      // well-formed
  bool truncated = false;  // not valid only because the text ends: more bytes could complete it
};

// `pos` must be inside the text.
Utf8Char ReadUtf8(absl::string_view text, size_t pos);

void AppendUtf8(uint32_t code_point, std::string* out);

// The length of the longest valid prefix of `text` from `pos` on.
size_t ValidUtf8Length(absl::string_view text, size_t pos = 0);

// `text` with every broken stretch replaced by U+FFFD.
std::string ReplaceInvalidUtf8(absl::string_view text);

// The length of the prefix that no following byte can change the meaning of: all but an unfinished
// last character.
size_t SettledUtf8Length(absl::string_view text);

}  // namespace skipserve
