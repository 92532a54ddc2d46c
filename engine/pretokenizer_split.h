// Cuts text into the pieces that byte-pair merges may not cross, as Hugging Face's Sequence of
// isolated splits does. It does not normalise and does not see bytes that are not UTF-8. Immutable
// and thread-safe after Create.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace skipserve {

class PreTokenizer {
 public:
  // Patterns are Oniguruma's own syntax, in which tokenizer.json files are written.
  // INVALID_ARGUMENT names a pattern that does not compile. With `digits_alone` a first split makes
  // every digit (category N) a piece.
  static absl::StatusOr<PreTokenizer> Create(const std::vector<std::string>& patterns,
                                             bool digits_alone);

  // Sets `ends` to the pieces' ends in ascending order, the last one text.size(); empty for an
  // empty text. `text` must be valid UTF-8. Each pattern sees only one piece of the split before
  // it, and what it leaves unmatched stays a piece. No text is lost: where the engine gives up (its
  // limits are below) the rest of that piece stays whole.
  void Split(absl::string_view text, std::vector<size_t>* ends) const;

 private:
  struct Regex;
  std::vector<std::shared_ptr<const Regex>> stages_;
};

}  // namespace skipserve
