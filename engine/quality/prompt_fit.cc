// See the header.
#include "engine/quality/prompt_fit.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

// Close enough to stop looking.
constexpr int64_t kNear = 4;

absl::StatusOr<std::vector<int32_t>> Encode(const TaskContext& context, const Frame& frame,
                                            const std::string& document) {
  std::vector<ChatMessage> messages = {{"user", absl::StrCat(frame.before, document, frame.after)}};
  messages.insert(messages.end(), frame.later.begin(), frame.later.end());
  std::vector<TextPiece> pieces;
  if (context.chat != nullptr) {
    ASSIGN_OR_RETURN(pieces, context.chat->Render(messages, /*add_generation_prompt=*/true));
  } else {
    for (const ChatMessage& message : messages) {
      pieces.push_back({message.role == "user" ? absl::StrCat(message.content, "\n\nAnswer:")
                                               : absl::StrCat(" ", message.content, "\n\n")});
    }
  }
  return EncodePrompt(context.tokenizer, pieces);
}

// The document's text is found in the tokens' bytes; a token that is only partly of it is not of
// it.
absl::Status FindDocument(const Tokenizer& tokenizer, const std::string& document, Task* task) {
  std::string bytes;
  std::vector<size_t> begins;
  for (const int32_t id : task->prompt) {
    begins.push_back(bytes.size());
    absl::StrAppend(&bytes, tokenizer.TokenBytes(id));
  }
  begins.push_back(bytes.size());
  const size_t begin = bytes.find(document);
  if (begin == std::string::npos) {
    return absl::InternalError("the chat template or the tokenizer changes the document's text");
  }
  const auto token_at = [&](size_t byte) {
    return std::lower_bound(begins.begin(), begins.end(), byte);
  };
  const auto first = token_at(begin);
  auto last = token_at(begin + document.size());
  if (*last > begin + document.size()) --last;
  task->document_begin = first - begins.begin();
  task->document_end = std::max(first, last) - begins.begin();
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Task> FitPrompt(const TaskContext& context, const Frame& frame,
                               const Growing& document, std::string* text_out) {
  Task task;
  task.tokens = context.tokens;
  // Sizes and their prompts' tokens: the largest known to fit, and the smallest known not to.
  int64_t size = 0, too_large = document.most + 1, tokens_too_large = 0;
  std::string text = document.at(0);
  ASSIGN_OR_RETURN(task.prompt, Encode(context, frame, text));
  const auto length = [&] { return static_cast<int64_t>(task.prompt.size()); };
  if (length() > context.tokens) {
    return absl::InvalidArgumentError(absl::StrCat(
        context.tokens, " tokens are too few: ", length(), " are needed without a document"));
  }
  for (int step = 0; too_large - size > 1 && context.tokens - length() > kNear; ++step) {
    // Tokens grow nearly evenly with the size, so a straight line finds the place in a few steps;
    // halving makes sure that it ends. The first guess is two tokens to a step of the size.
    const int64_t missing = context.tokens - length() - 1;
    int64_t next = size + std::max<int64_t>(1, missing / 2);
    if (tokens_too_large > 0) {
      next = step < 12 ? size + missing * (too_large - size) / (tokens_too_large - length())
                       : size + (too_large - size) / 2;
    }
    next = std::clamp(next, size + 1, too_large - 1);
    std::string longer = document.at(next);
    ASSIGN_OR_RETURN(std::vector<int32_t> prompt, Encode(context, frame, longer));
    if (static_cast<int64_t>(prompt.size()) > context.tokens) {
      too_large = next;
      tokens_too_large = static_cast<int64_t>(prompt.size());
      continue;
    }
    size = next;
    text = std::move(longer);
    task.prompt = std::move(prompt);
  }
  if (context.tokens - length() > std::max<int64_t>(16, context.tokens / 100)) {
    return absl::NotFoundError(absl::StrCat("the documents are too short: they make ", length(),
                                            " of ", context.tokens,
                                            " tokens; give more or longer ones"));
  }
  RETURN_IF_ERROR(FindDocument(context.tokenizer, text, &task));
  if (text_out != nullptr) *text_out = std::move(text);
  return task;
}

void Ask(std::vector<std::string> answers, size_t asked, int64_t tokens_each, Task& task) {
  answers.resize(asked);
  task.answers = std::move(answers);
  task.max_new_tokens = tokens_each * static_cast<int64_t>(asked);
}

}  // namespace skipserve
