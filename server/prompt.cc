// See the header.
#include "server/prompt.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

std::vector<int32_t> Encode(const Engine& engine, absl::Span<const TextPiece> pieces) {
  const TokenizerSpec& spec = engine.tokenizer().spec();
  std::vector<int32_t> ids = engine.tokenizer().Encode(pieces);
  const bool has_bos = !ids.empty() && ids.front() == spec.bos_id;
  if (spec.add_bos && spec.bos_id >= 0 && !has_bos) ids.insert(ids.begin(), spec.bos_id);
  return ids;
}

}  // namespace

absl::StatusOr<std::vector<int32_t>> PromptFromText(const Engine& engine, absl::string_view text) {
  const TextPiece piece{std::string(text), /*trusted=*/true};
  return Encode(engine, {&piece, 1});
}

absl::StatusOr<std::vector<int32_t>> PromptFromChat(const Engine& engine,
                                                    absl::Span<const ChatMessage> messages) {
  if (messages.empty()) return absl::InvalidArgumentError("there are no messages");
  const ChatTemplate* chat = engine.chat_template();
  if (chat == nullptr) {
    return absl::InvalidArgumentError(
        "this model has no chat template; send the prompt as text or token ids");
  }
  ASSIGN_OR_RETURN(const std::vector<TextPiece> pieces,
                   chat->Render(messages, /*add_generation_prompt=*/true));
  return Encode(engine, pieces);
}

absl::StatusOr<std::vector<int32_t>> PromptFromIds(const Engine& engine,
                                                   absl::Span<const int32_t> ids) {
  const int32_t vocab_size = engine.info().config.vocab_size;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab_size) {
      return absl::InvalidArgumentError(absl::StrCat("token id ", ids[i], " at position ", i,
                                                     " of the prompt is not in the vocabulary of ",
                                                     vocab_size));
    }
  }
  return std::vector<int32_t>(ids.begin(), ids.end());
}

absl::Status CheckContext(const ModelInfo& info, int64_t prompt_tokens, int64_t max_tokens) {
  if (prompt_tokens == 0) return absl::InvalidArgumentError("the prompt is empty");
  const int64_t answer = std::max<int64_t>(max_tokens, 1);
  // Written so that no sum can overflow.
  if (prompt_tokens <= info.max_context && answer <= info.max_context - prompt_tokens) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the prompt has ", prompt_tokens, " tokens and the answer may have ",
                   max_tokens > 0 ? "" : "at least ", answer, ", but the context holds ",
                   info.max_context, " in all"));
}

}  // namespace skipserve
