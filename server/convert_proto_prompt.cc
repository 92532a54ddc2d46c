// What the wire's requests ask about, as token ids; see convert_proto.h.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "server/convert_proto.h"
#include "server/prompt.h"
#include "server/request_limits.h"

namespace skipserve {
namespace {

absl::Status Bad(absl::string_view field, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(field, " ", what));
}

absl::StatusOr<std::vector<ChatMessage>> MessagesFromProto(const v1::Chat& chat) {
  if (chat.messages().empty()) return Bad("chat.messages", "must not be empty");
  std::vector<ChatMessage> messages;
  for (int i = 0; i < chat.messages_size(); ++i) {
    const v1::ChatMessage& message = chat.messages(i);
    if (message.role().empty()) {
      return Bad(absl::StrCat("chat.messages[", i, "].role"), "must not be empty");
    }
    messages.push_back({message.role(), message.content()});
  }
  return messages;
}

// What goes wrong in the template is named after its field.
absl::StatusOr<std::vector<int32_t>> OfChat(absl::StatusOr<std::vector<int32_t>> ids) {
  if (!ids.ok()) return Bad("chat:", ids.status().message());
  return ids;
}

absl::StatusOr<std::vector<int32_t>> FromChat(const v1::Chat& chat, const Engine& engine,
                                              PromptUse use) {
  ASSIGN_OR_RETURN(const auto messages, MessagesFromProto(chat));
  return OfChat(PromptFromChat(engine, messages, use));
}

absl::StatusOr<std::vector<int32_t>> FromIds(const v1::TokenIds& proto, const Engine& engine) {
  RETURN_IF_ERROR(CheckTokenIds(proto.ids(), "token_ids.ids", engine.info().config.vocab_size));
  return std::vector<int32_t>(proto.ids().begin(), proto.ids().end());
}

constexpr char kNoPrompt[] = "is missing: set text, chat or token_ids";

absl::StatusOr<std::vector<int32_t>> TokensFromProto(const v1::ReadPrefixRequest& proto,
                                                     const Engine& engine) {
  switch (proto.prompt_case()) {
    case v1::ReadPrefixRequest::kText:
      return PromptFromText(engine, proto.text(), PromptUse::kRead);
    case v1::ReadPrefixRequest::kChat: {
      ASSIGN_OR_RETURN(const auto messages, MessagesFromProto(proto.chat()));
      return OfChat(PrefixFromChat(engine, messages));
    }
    case v1::ReadPrefixRequest::kTokenIds:
      return FromIds(proto.token_ids(), engine);
    case v1::ReadPrefixRequest::PROMPT_NOT_SET:
      break;
  }
  return Bad("prompt", kNoPrompt);
}

}  // namespace

absl::StatusOr<std::vector<int32_t>> PromptFromProto(const v1::GenerateRequest& proto,
                                                     const Engine& engine) {
  switch (proto.prompt_case()) {
    case v1::GenerateRequest::kText:
      return PromptFromText(engine, proto.text(), PromptUse::kRead);
    case v1::GenerateRequest::kChat:
      return FromChat(proto.chat(), engine, PromptUse::kRead);
    case v1::GenerateRequest::kTokenIds:
      return FromIds(proto.token_ids(), engine);
    case v1::GenerateRequest::PROMPT_NOT_SET:
      break;
  }
  return Bad("prompt", kNoPrompt);
}

absl::StatusOr<std::vector<int32_t>> PromptFromProto(const v1::TokenizeRequest& proto,
                                                     const Engine& engine) {
  switch (proto.prompt_case()) {
    case v1::TokenizeRequest::kText:
      if (proto.plain()) return engine.tokenizer().Encode(proto.text(), /*allow_special=*/false);
      return PromptFromText(engine, proto.text(), PromptUse::kCount);
    case v1::TokenizeRequest::kChat:
      if (proto.plain()) return Bad("plain", "goes with text only");
      return FromChat(proto.chat(), engine, PromptUse::kCount);
    case v1::TokenizeRequest::PROMPT_NOT_SET:
      break;
  }
  return Bad("prompt", "is missing: set text or chat");
}

absl::StatusOr<PrefixRequest> PrefixFromProto(const v1::ReadPrefixRequest& proto,
                                              const Engine& engine) {
  PrefixRequest out;
  out.name = proto.name();
  if (out.name.empty() || out.name.size() > kMaxPrefixName) {
    return Bad("name", absl::StrCat("must have 1 to ", kMaxPrefixName, " bytes"));
  }
  ASSIGN_OR_RETURN(out.skip, SkipFromProto(proto.skip(), engine.info()));
  ASSIGN_OR_RETURN(out.cache_salt, CacheSaltFromProto(proto.cache_salt()));
  ASSIGN_OR_RETURN(out.tokens, TokensFromProto(proto, engine));
  return out;
}

}  // namespace skipserve
