// Whether a text has an answer. Internal to this folder, beside ScoreAnswer in tasks.h.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace skipserve {

// A text to look for answers in, by ScoreAnswer's rules.
class AnswerText {
 public:
  explicit AnswerText(absl::string_view text);
  bool Has(absl::string_view answer) const;

 private:
  std::string text_;  // lower case, without the commas of thousands
};

}  // namespace skipserve
