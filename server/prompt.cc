// See the header.
#include "server/prompt.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

constexpr char kTooLong[] = "skipserve/context_length_exceeded";  // a status payload's name

template <typename... Parts>
absl::Status TooLong(const Parts&... parts) {
  absl::Status status = absl::InvalidArgumentError(absl::StrCat(parts...));
  status.SetPayload(kTooLong, absl::Cord());
  return status;
}

// Whether the context could hold so many bytes if every token were the longest one.
absl::Status CheckBytes(const Engine& engine, size_t bytes) {
  const auto context = static_cast<size_t>(engine.info().max_context);
  if (bytes <= context) return absl::OkStatus();
  const Tokenizer& tokenizer = engine.tokenizer();
  size_t longest = 1;
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    longest = std::max(longest, tokenizer.TokenBytes(id).size());
  }
  if (tokenizer.spec().nfc) longest *= 3;  // it makes "K" of the three bytes of the Kelvin sign
  if (bytes / longest <= context) return absl::OkStatus();
  return TooLong("the prompt has ", bytes, " bytes; the context of ", context,
                 " tokens, each of at most ", longest, " bytes, cannot hold it");
}

absl::StatusOr<std::vector<int32_t>> Encode(const Engine& engine,
                                            absl::Span<const TextPiece> pieces, PromptUse use) {
  if (use == PromptUse::kRead) {
    size_t bytes = 0;
    for (const TextPiece& piece : pieces) bytes += piece.text.size();
    RETURN_IF_ERROR(CheckBytes(engine, bytes));
  }
  return EncodePrompt(engine.tokenizer(), pieces);
}

absl::StatusOr<std::vector<TextPiece>> RenderChat(const Engine& engine,
                                                  absl::Span<const ChatMessage> messages) {
  if (messages.empty()) return absl::InvalidArgumentError("there are no messages");
  const ChatTemplate* chat = engine.chat_template();
  if (chat == nullptr) {
    return absl::InvalidArgumentError(
        "this model has no chat template; send the prompt as text or token ids");
  }
  return chat->Render(messages, /*add_generation_prompt=*/true);
}

std::vector<TextPiece> CommonStart(absl::Span<const TextPiece> a, absl::Span<const TextPiece> b) {
  std::vector<TextPiece> common;
  for (size_t i = 0; i < std::min(a.size(), b.size()) && a[i].trusted == b[i].trusted; ++i) {
    const std::string& text = a[i].text;
    const auto end =
        std::mismatch(text.begin(), text.end(), b[i].text.begin(), b[i].text.end()).first;
    common.push_back({std::string(text.begin(), end), a[i].trusted});
    if (text != b[i].text) break;
  }
  return common;
}

}  // namespace

absl::StatusOr<std::vector<int32_t>> PromptFromText(const Engine& engine, absl::string_view text,
                                                    PromptUse use) {
  const TextPiece piece{std::string(text), /*trusted=*/true};
  return Encode(engine, {&piece, 1}, use);
}

absl::StatusOr<std::vector<int32_t>> PromptFromChat(const Engine& engine,
                                                    absl::Span<const ChatMessage> messages,
                                                    PromptUse use) {
  ASSIGN_OR_RETURN(const std::vector<TextPiece> pieces, RenderChat(engine, messages));
  return Encode(engine, pieces, use);
}

absl::StatusOr<std::vector<int32_t>> PrefixFromChat(const Engine& engine,
                                                    absl::Span<const ChatMessage> messages) {
  // A template is a program: where a message's text ends is seen from two that go on differently.
  std::vector<ChatMessage> ends(messages.begin(), messages.end());
  const auto render = [&](absl::string_view more) {
    if (!ends.empty()) ends.back().content = absl::StrCat(messages.back().content, more);
    return RenderChat(engine, ends);
  };
  ASSIGN_OR_RETURN(const std::vector<TextPiece> a, render("a"));
  ASSIGN_OR_RETURN(const std::vector<TextPiece> b, render("b"));
  return Encode(engine, CommonStart(a, b), PromptUse::kRead);
}

absl::Status CheckTokenIds(absl::Span<const int32_t> ids, const char* field, int32_t vocab_size) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < vocab_size) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(field, " has the token id ", ids[i], " at position ", i,
                     ", which is not in the vocabulary of ", vocab_size));
  }
  return absl::OkStatus();
}

absl::Status CheckContext(const ModelInfo& info, int64_t prompt_tokens, int64_t max_tokens) {
  if (prompt_tokens == 0) return absl::InvalidArgumentError("the prompt is empty");
  const int64_t answer = std::max<int64_t>(max_tokens, 1);
  // Written so that no sum can overflow.
  if (prompt_tokens <= info.max_context && answer <= info.max_context - prompt_tokens) {
    return absl::OkStatus();
  }
  return TooLong("the prompt has ", prompt_tokens, " tokens and the answer may have ",
                 max_tokens > 0 ? "" : "at least ", answer, ", but the context holds ",
                 info.max_context, " in all");
}

bool IsTooLong(const absl::Status& status) { return status.GetPayload(kTooLong).has_value(); }

}  // namespace skipserve
