// See the header.
#include "engine/quality/document_pool.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace skipserve {
namespace {

constexpr size_t kShortest = 400;  // bytes; shorter texts make a document of scraps

// By its name, or by a first line that names an interpreter.
bool IsCode(const Document& document) {
  for (const absl::string_view ending : {".py", ".pl", ".pm", ".sh"}) {
    if (absl::EndsWith(document.name, ending)) return true;
  }
  const absl::string_view text = document.text;
  const absl::string_view line = text.substr(0, text.find('\n'));
  if (!absl::StartsWith(line, "#!")) return false;
  return absl::StrContains(line, "python") || absl::StrContains(line, "perl") ||
         absl::EndsWith(line, "sh");
}

// Where a line begins in the first half of `text`: at `share` of it or before.
size_t LineNear(absl::string_view text, double share) {
  const auto at = static_cast<size_t>(static_cast<double>(text.size()) * share / 2);
  const size_t newline = text.rfind('\n', at);
  return newline == absl::string_view::npos ? 0 : newline + 1;
}

}  // namespace

DocumentPool::DocumentPool(std::vector<Document> documents) {
  std::vector<Document> kinds[2];
  absl::flat_hash_set<std::string> seen;
  for (Document& document : documents) {
    document.text = std::string(absl::StripTrailingAsciiWhitespace(document.text));
    if (document.text.size() < kShortest || !seen.insert(document.text).second) continue;
    kinds[IsCode(document)].push_back(std::move(document));
  }
  for (const int kind : {0, 1}) {
    const bool alone = kinds[kind].size() == 1;
    for (size_t i = 0; i < kinds[kind].size(); ++i) {
      if (alone) splits_[kind][1] = kinds[kind];
      splits_[kind][alone ? 0 : i % 2].push_back(std::move(kinds[kind][i]));
    }
  }
}

absl::StatusOr<std::string> DocumentPool::Text(Kind kind, bool held_out, int64_t index,
                                               size_t bytes, Random random) const {
  const std::vector<Document>& split = splits_[kind == Kind::kCode][held_out];
  if (split.empty()) {
    return absl::NotFoundError(
        kind == Kind::kCode
            ? "no source code among the documents: give some .py, .pl, .pm or .sh files"
            : absl::StrCat("no text among the documents: give some that have ", kShortest,
                           " bytes or more and are not source code"));
  }
  const size_t first = static_cast<size_t>(index) % split.size();
  const bool whole = static_cast<size_t>(index) < split.size();
  const size_t begin = whole ? 0 : LineNear(split[first].text, random.Share());
  std::string text = split[first].text.substr(begin);
  for (size_t i = 1; i < split.size() && text.size() < bytes; ++i) {
    absl::StrAppend(&text, "\n\n", split[(first + i) % split.size()].text);
  }
  // Last comes what was left out before its first line.
  if (text.size() < bytes && begin > 0) {
    absl::StrAppend(&text, "\n\n", absl::string_view(split[first].text).substr(0, begin));
  }
  // A chat template may take white space off a message's ends.
  return std::string(absl::StripLeadingAsciiWhitespace(text));
}

}  // namespace skipserve
