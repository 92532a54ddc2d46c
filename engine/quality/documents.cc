// See the header.
#include "engine/quality/documents.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxText = size_t{1} << 20;
constexpr size_t kMaxTexts = size_t{64} << 20;

// A byte of zero in its beginning is what tells a binary file.
bool LooksLikeText(absl::string_view text) {
  return !text.empty() && text.substr(0, 4096).find('\0') == absl::string_view::npos;
}

absl::StatusOr<std::vector<std::string>> FilesBelow(const std::string& folder) {
  std::vector<std::string> files;
  std::error_code error;
  fs::recursive_directory_iterator it(folder, fs::directory_options::skip_permission_denied, error);
  for (; !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
    const bool hidden = absl::StartsWith(it->path().filename().string(), ".");
    std::error_code ignored;
    if (hidden && it->is_directory(ignored)) it.disable_recursion_pending();
    if (!hidden && it->is_regular_file(ignored)) files.push_back(it->path().string());
  }
  if (error) {
    return absl::InvalidArgumentError(absl::StrCat("cannot read ", folder, ": ", error.message()));
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

absl::StatusOr<std::string> ReadBytes(const std::string& path, size_t limit) {
  std::error_code error;
  if (path != "-" && fs::is_directory(path, error)) {
    return absl::InvalidArgumentError(absl::StrCat("cannot read ", path, ": it is a folder"));
  }
  std::ifstream file;
  if (path != "-") {
    errno = 0;
    file.open(path, std::ios::binary);
    if (!file) {
      const char* why = errno != 0 ? std::strerror(errno) : "it cannot be opened";
      return absl::NotFoundError(absl::StrCat("cannot read ", path, ": ", why));
    }
  }
  std::istream& in = path == "-" ? std::cin : file;
  std::string text;
  char buffer[1 << 16];
  while (text.size() < limit) {
    in.read(buffer, static_cast<std::streamsize>(std::min(sizeof(buffer), limit - text.size())));
    if (in.gcount() == 0) break;
    text.append(buffer, static_cast<size_t>(in.gcount()));
  }
  if (in.bad()) return absl::InvalidArgumentError(absl::StrCat("reading ", path, " failed"));
  return text;
}

absl::StatusOr<std::vector<Document>> ReadDocuments(const std::vector<std::string>& paths) {
  std::vector<Document> documents;
  size_t total = 0;
  for (const std::string& path : paths) {
    std::error_code error;
    if (!fs::is_directory(path, error)) {
      ASSIGN_OR_RETURN(std::string text, ReadBytes(path, kMaxText));
      if (!LooksLikeText(text)) {
        return absl::InvalidArgumentError(
            absl::StrCat(path, text.empty() ? " is empty" : " is not a text"));
      }
      total += text.size();
      documents.push_back({path, std::move(text)});
      continue;
    }
    ASSIGN_OR_RETURN(const std::vector<std::string> files, FilesBelow(path));
    for (const std::string& file : files) {
      if (total >= kMaxTexts) break;
      // One file in a folder that cannot be read is no reason to give up the others.
      absl::StatusOr<std::string> text = ReadBytes(file, kMaxText);
      if (!text.ok() || !LooksLikeText(*text)) continue;
      total += text->size();
      documents.push_back({file, *std::move(text)});
    }
  }
  if (documents.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("no text in ", absl::StrJoin(paths, ", ")));
  }
  return documents;
}

}  // namespace skipserve
