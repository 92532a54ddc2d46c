#include "server/tool_input.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "engine/quality/documents.h"
#include "engine/status_macros.h"
#include "nlohmann/json.hpp"
#include "server/prompt.h"

namespace skipserve {
namespace {

constexpr size_t kMaxDocument = size_t{256} << 20;

}  // namespace

absl::StatusOr<std::string> ReadDocument(const std::string& path) {
  ASSIGN_OR_RETURN(std::string text, ReadBytes(path, kMaxDocument + 1));
  if (text.size() > kMaxDocument) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is larger than 256 MB"));
  }
  return text;
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
