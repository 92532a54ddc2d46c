// GPT-2's byte alphabet: the 256 printable characters that stand for the 256 bytes in a byte-level
// vocabulary. Plain functions, safe from any thread.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace skipserve {

// The character that stands for `byte`.
uint32_t ByteAlphabetChar(uint8_t byte);

// Turns a token's text into the bytes it stands for. False, and `bytes` undefined, where a
// character of `text` is not of the alphabet.
bool ByteAlphabetDecode(absl::string_view text, std::string* bytes);

}  // namespace skipserve
