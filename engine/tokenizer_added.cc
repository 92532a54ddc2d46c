#include "engine/tokenizer_added.h"

namespace skipserve {

int32_t AddedTokens::Child(int32_t node, uint8_t byte) const {
  if (node < 0) return root_[byte];
  for (const auto& [label, child] : nodes_[node].children) {
    if (label == byte) return child;
  }
  return -1;
}

void AddedTokens::Add(absl::string_view text, int32_t id, bool special) {
  if (text.empty()) return;
  int32_t node = -1;
  for (const char c : text) {
    const uint8_t byte = static_cast<uint8_t>(c);
    int32_t child = Child(node, byte);
    if (child < 0) {
      child = static_cast<int32_t>(nodes_.size());
      nodes_.emplace_back();
      if (node < 0) {
        root_[byte] = child;
      } else {
        nodes_[node].children.emplace_back(byte, child);
      }
    }
    node = child;
  }
  if (nodes_[node].id >= 0) return;
  nodes_[node].id = id;
  nodes_[node].special = special;
}

AddedTokens::Match AddedTokens::MatchAt(absl::string_view text, size_t pos,
                                        size_t trusted_end) const {
  Match best;
  int32_t node = -1;
  for (size_t end = pos; end < text.size();) {
    node = Child(node, static_cast<uint8_t>(text[end]));
    if (node < 0) break;
    ++end;
    if (nodes_[node].id < 0 || (nodes_[node].special && end > trusted_end)) continue;
    best = Match{pos, end, nodes_[node].id};
  }
  return best;
}

}  // namespace skipserve
