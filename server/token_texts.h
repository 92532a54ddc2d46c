// A prompt's text cut at its tokens, for whoever shows what became of each. Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "engine/tokenizer.h"

namespace skipserve {

// One string for each token; joined they are the prompt's text, special tokens included. A token
// that ends inside a character has "", and the one that completes it has the whole.
std::vector<std::string> TokenTexts(const Tokenizer& tokenizer, absl::Span<const int32_t> ids);

// The positions of the special tokens, ascending.
std::vector<int64_t> SpecialPositions(const Tokenizer& tokenizer, absl::Span<const int32_t> ids);

}  // namespace skipserve
