#include "server/tool_input.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "engine/status_macros.h"
#include "nlohmann/json.hpp"
#include "server/prompt.h"

namespace skipserve {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxDocument = size_t{256} << 20;
constexpr size_t kMaxText = size_t{1} << 20;
constexpr size_t kMaxTexts = size_t{64} << 20;

// At most `limit` bytes.
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

absl::StatusOr<std::string> ReadDocument(const std::string& path) {
  ASSIGN_OR_RETURN(std::string text, ReadBytes(path, kMaxDocument + 1));
  if (text.size() > kMaxDocument) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is larger than 256 MB"));
  }
  return text;
}

absl::StatusOr<std::vector<std::string>> ReadTexts(const std::vector<std::string>& paths) {
  std::vector<std::string> texts;
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
      texts.push_back(std::move(text));
      continue;
    }
    ASSIGN_OR_RETURN(const std::vector<std::string> files, FilesBelow(path));
    for (const std::string& file : files) {
      if (total >= kMaxTexts) break;
      // One file in a folder that cannot be read is no reason to give up the others.
      absl::StatusOr<std::string> text = ReadBytes(file, kMaxText);
      if (!text.ok() || !LooksLikeText(*text)) continue;
      total += text->size();
      texts.push_back(*std::move(text));
    }
  }
  if (texts.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("no text in ", absl::StrJoin(paths, ", ")));
  }
  return texts;
}

absl::StatusOr<SkipRequest> ParseSkip(const std::string& text) {
  SkipRequest skip;
  if (text.empty()) return absl::InvalidArgumentError("--skip is empty; try off or auto");
  if (text == "off" || text == "auto") {
    skip.mode = text == "off" ? SkipRequest::Mode::kOff : SkipRequest::Mode::kAuto;
    return skip;
  }
  absl::string_view path = text;
  const bool from_file = absl::ConsumePrefix(&path, "@");
  if (!from_file && text.find('{') == std::string::npos) {
    skip.mode = SkipRequest::Mode::kLevel;
    skip.level = text;
    return skip;
  }
  std::string source = text;
  if (from_file) {
    ASSIGN_OR_RETURN(source, ReadDocument(std::string(path)));
  }
  const std::string where = absl::StrCat("--skip", from_file ? " " : "", from_file ? text : "");
  const nlohmann::json json = nlohmann::json::parse(source, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": the policy is not valid JSON"));
  }
  absl::StatusOr<SkipPolicy> policy = PolicyFromJson(json);
  if (!policy.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": ", policy.status().message()));
  }
  skip.mode = SkipRequest::Mode::kPolicy;
  skip.policy = *std::move(policy);
  return skip;
}

absl::StatusOr<std::vector<int32_t>> BuildPrompt(const Engine& engine, const Question& question,
                                                 int64_t max_tokens) {
  std::vector<std::string> parts;
  if (!question.document_path.empty()) {
    ASSIGN_OR_RETURN(parts.emplace_back(), ReadDocument(question.document_path));
  }
  for (const std::string& part : {question.prompt, question.question}) {
    if (!part.empty()) parts.push_back(part);
  }
  const std::string text = absl::StrJoin(parts, "\n\n");
  if (text.empty()) {
    return absl::InvalidArgumentError("nothing to ask: give --prompt, or --file and --question");
  }
  std::vector<int32_t> prompt;
  if (question.raw) {
    ASSIGN_OR_RETURN(prompt, PromptFromText(engine, text, PromptUse::kRead));
  } else if (engine.chat_template() == nullptr) {
    return absl::InvalidArgumentError(
        "this model has no chat template that can be used; --raw takes the text as it is");
  } else {
    const ChatMessage message{"user", text};
    ASSIGN_OR_RETURN(prompt, PromptFromChat(engine, {&message, 1}, PromptUse::kRead));
  }
  RETURN_IF_ERROR(CheckContext(engine.info(), static_cast<int64_t>(prompt.size()), max_tokens));
  return prompt;
}

}  // namespace skipserve
