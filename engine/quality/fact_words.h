// Words and templates of the planted facts. Data only.
#pragma once

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace skipserve {

struct SlotWords {
  absl::string_view slot;   // without its braces
  absl::string_view words;  // with "|" between them
};

// Each has at least two slots, so that the same template makes many facts.
struct FactTemplate {
  absl::string_view sentence, question, answer;
};

// The two splits share no word and no template. Slots of digits ({code}, {count}, {year}) are not
// among the words.
absl::Span<const SlotWords> FactWords(bool held_out);
absl::Span<const FactTemplate> FactTemplates(bool held_out);

}  // namespace skipserve
