// Finds the tokens that stand in text as they are: special and user-defined ones. It knows nothing
// of merges. Immutable and thread-safe once filled.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace skipserve {

class AddedTokens {
 public:
  struct Match {
    size_t begin = 0;
    size_t end = 0;
    int32_t id = -1;  // -1: nothing found
  };

  AddedTokens() { root_.fill(-1); }

  // An empty text is ignored; of two tokens with one text the first added stands.
  void Add(absl::string_view text, int32_t id, bool special);

  // The leftmost match at or after `pos`, the longest of those that start there. A special token
  // counts only where it ends at or before `trusted_end(begin)`, the end of the trusted stretch
  // that `begin` lies in (`begin` itself where it is not trusted). It is asked for ascending places
  // only. Time: the text's length times the longest token.
  template <typename TrustedEnd>
  Match Find(absl::string_view text, size_t pos, TrustedEnd trusted_end) const {
    for (; pos < text.size(); ++pos) {
      if (root_[static_cast<uint8_t>(text[pos])] < 0) continue;
      const Match match = MatchAt(text, pos, trusted_end(pos));
      if (match.id >= 0) return match;
    }
    return Match{};
  }

 private:
  struct Node {
    std::vector<std::pair<uint8_t, int32_t>> children;
    int32_t id = -1;
    bool special = false;
  };

  Match MatchAt(absl::string_view text, size_t pos, size_t trusted_end) const;
  int32_t Child(int32_t node, uint8_t byte) const;

  std::array<int32_t, 256> root_;
  std::vector<Node> nodes_;
};

}  // namespace skipserve
