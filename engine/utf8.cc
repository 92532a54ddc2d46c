#include "engine/utf8.h"

#include <algorithm>

namespace skipserve {
namespace {

bool IsContinuation(uint8_t byte) { return (byte & 0xC0) == 0x80; }

}  // namespace

Utf8Char ReadUtf8(absl::string_view text, size_t pos) {
  const auto at = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = at(pos);
  Utf8Char c;
  if (first < 0x80) {
    c.code_point = first;
    c.valid = true;
    return c;
  }
  if (first < 0xC2 || first > 0xF4) return c;
  const size_t want = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  // The second byte's range is what keeps out overlong forms, surrogates and values above U+10FFFF.
  const uint8_t low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  const uint8_t high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  uint32_t code_point = first & (0xFF >> (want + 1));
  while (c.length < want) {
    if (pos + c.length >= text.size()) {
      c.truncated = true;
      return c;
    }
    const uint8_t next = at(pos + c.length);
    const bool fits = c.length == 1 ? next >= low && next <= high : IsContinuation(next);
    if (!fits) return c;
    code_point = code_point << 6 | (next & 0x3F);
    ++c.length;
  }
  c.code_point = code_point;
  c.valid = true;
  return c;
}

void AppendUtf8(uint32_t code_point, std::string* out) {
  const auto push = [out](uint32_t byte) { out->push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    push(code_point);
  } else if (code_point < 0x800) {
    push(0xC0 | code_point >> 6);
    push(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    push(0xE0 | code_point >> 12);
    push(0x80 | (code_point >> 6 & 0x3F));
    push(0x80 | (code_point & 0x3F));
  } else {
    push(0xF0 | code_point >> 18);
    push(0x80 | (code_point >> 12 & 0x3F));
    push(0x80 | (code_point >> 6 & 0x3F));
    push(0x80 | (code_point & 0x3F));
  }
}

size_t ValidUtf8Length(absl::string_view text, size_t pos) {
  const size_t begin = pos;
  while (pos < text.size()) {
    const Utf8Char c = ReadUtf8(text, pos);
    if (!c.valid) break;
    pos += c.length;
  }
  return pos - begin;
}

std::string ReplaceInvalidUtf8(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const size_t valid = ValidUtf8Length(text, pos);
    out.append(text.data() + pos, valid);
    pos += valid;
    if (pos == text.size()) break;
    AppendUtf8(kReplacementCharacter, &out);
    pos += ReadUtf8(text, pos).length;
  }
  return out;
}

size_t SettledUtf8Length(absl::string_view text) {
  for (size_t back = 1; back <= std::min<size_t>(3, text.size()); ++back) {
    const size_t pos = text.size() - back;
    if (IsContinuation(static_cast<uint8_t>(text[pos]))) continue;
    return ReadUtf8(text, pos).truncated ? pos : text.size();
  }
  return text.size();
}

}  // namespace skipserve
