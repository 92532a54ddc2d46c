// See the header.
#include "engine/quality/planted.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace skipserve {
namespace {

// A word longer than this grows in pieces, so that a step has few tokens whatever the text.
constexpr size_t kLongestStep = 16;
// How far before its depth a line may move to stand between two of the text.
constexpr size_t kFarthest = 400;

bool InsideCharacter(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// Where words end, and pieces of long ones; never inside a UTF-8 character. The first is 0.
std::vector<size_t> Steps(absl::string_view text) {
  std::vector<size_t> ends = {0};
  for (size_t i = 1; i < text.size(); ++i) {
    const bool word_ends = absl::ascii_isspace(text[i]) && !absl::ascii_isspace(text[i - 1]);
    if (word_ends || (i - ends.back() >= kLongestStep && !InsideCharacter(text[i]))) {
      ends.push_back(i);
    }
  }
  if (!text.empty()) ends.push_back(text.size());
  return ends;
}

// The line's place near `at`: after a line's end if there is one, else after a word.
size_t PlaceNear(absl::string_view text, size_t at) {
  const absl::string_view before = text.substr(0, at);
  for (const char* ends : {"\n", " "}) {
    const size_t end = before.find_last_of(ends);
    if (end != absl::string_view::npos && at - end <= kFarthest) return end + 1;
  }
  if (at < kFarthest) return 0;
  while (at < text.size() && InsideCharacter(text[at])) ++at;
  return at;
}

std::string Plant(absl::string_view text, const std::vector<PlantedLine>& lines) {
  std::string out;
  size_t done = 0;
  for (const PlantedLine& planted : lines) {
    const auto at = static_cast<size_t>(planted.depth * static_cast<double>(text.size()));
    const size_t place = std::max(done, PlaceNear(text, at));
    absl::StrAppend(&out, text.substr(done, place - done));
    if (!out.empty() && out.back() != '\n') out.push_back('\n');
    absl::StrAppend(&out, planted.line, "\n");
    done = place;
  }
  absl::StrAppend(&out, text.substr(done));
  return std::string(absl::StripTrailingAsciiWhitespace(out));
}

}  // namespace

Growing PlantedDocument(std::string text, std::vector<PlantedLine> lines) {
  std::stable_sort(lines.begin(), lines.end(),
                   [](const PlantedLine& a, const PlantedLine& b) { return a.depth < b.depth; });
  // Shared, because a std::function is copied.
  const auto whole = std::make_shared<const std::string>(std::move(text));
  const auto steps = std::make_shared<const std::vector<size_t>>(Steps(*whole));
  return {static_cast<int64_t>(steps->size()) - 1, [whole, steps, lines](int64_t size) {
            const size_t end = (*steps)[static_cast<size_t>(size)];
            return Plant(absl::string_view(*whole).substr(0, end), lines);
          }};
}

}  // namespace skipserve
