// A string that remembers which of its bytes come from the template (trusted) and which from a
// message. It is what lets a chat template cut and join texts without a message ever passing for
// markup. A plain value.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "engine/tokenizer.h"

namespace skipserve::jinja {

class Text {
 public:
  Text() = default;
  Text(absl::string_view bytes, bool trusted) { Append(bytes, trusted); }

  const std::string& bytes() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }

  void Append(absl::string_view bytes, bool trusted);
  void Append(const Text& other);
  void Append(const Text& other, size_t begin, size_t end);
  Text Sub(size_t begin, size_t end) const;

  // Stretches of one trust, in order; neighbours differ.
  std::vector<TextPiece> Pieces() const;

 private:
  struct Run {
    size_t end;
    bool trusted;
  };
  std::string bytes_;
  std::vector<Run> runs_;
};

// Where `needle` next stands in `text` from `pos` on, npos where nowhere. In linear time, unlike
// std::string::find, since both may come from a message.
size_t FindBytes(absl::string_view text, absl::string_view needle, size_t pos);

}  // namespace skipserve::jinja
