#include "engine/jinja_text.h"

#include <string.h>

#include <algorithm>

namespace skipserve::jinja {

void Text::Append(absl::string_view bytes, bool trusted) {
  if (bytes.empty()) return;
  bytes_.append(bytes.data(), bytes.size());
  if (!runs_.empty() && runs_.back().trusted == trusted) {
    runs_.back().end = bytes_.size();
  } else {
    runs_.push_back(Run{bytes_.size(), trusted});
  }
}

void Text::Append(const Text& other) { Append(other, 0, other.size()); }

void Text::Append(const Text& other, size_t begin, size_t end) {
  auto run = std::upper_bound(other.runs_.begin(), other.runs_.end(), begin,
                              [](size_t place, const Run& r) { return place < r.end; });
  while (begin < end) {
    const size_t run_end = std::min(end, run->end);
    Append(absl::string_view(other.bytes_).substr(begin, run_end - begin), run->trusted);
    begin = run_end;
    ++run;
  }
}

Text Text::Sub(size_t begin, size_t end) const {
  Text out;
  out.Append(*this, begin, end);
  return out;
}

std::vector<TextPiece> Text::Pieces() const {
  std::vector<TextPiece> pieces;
  size_t begin = 0;
  for (const Run& run : runs_) {
    pieces.push_back(TextPiece{bytes_.substr(begin, run.end - begin), run.trusted});
    begin = run.end;
  }
  return pieces;
}

size_t FindBytes(absl::string_view text, absl::string_view needle, size_t pos) {
  if (pos > text.size()) return absl::string_view::npos;
  if (needle.empty()) return pos;
  const void* found = memmem(text.data() + pos, text.size() - pos, needle.data(), needle.size());
  if (found == nullptr) return absl::string_view::npos;
  return static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

}  // namespace skipserve::jinja
