// POST /tokenize and /detokenize.
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "server/http_router.h"
#include "server/openai_fields.h"
#include "server/openai_request.h"
#include "server/prompt.h"
#include "server/token_texts.h"

namespace skipserve {
namespace {

constexpr size_t kMaxIds = size_t{4} << 20;

HttpReply TokensReply(const Engine& engine, const std::vector<int32_t>& ids, bool texts) {
  OrderedJson json = {
      {"tokens", ids}, {"count", ids.size()}, {"max_model_len", engine.info().max_context}};
  if (texts) {
    json["texts"] = TokenTexts(engine.tokenizer(), ids);
    json["special"] = SpecialPositions(engine.tokenizer(), ids);
  }
  return JsonReply(200, json);
}

HttpReply TokenizeText(const Engine& engine, FieldReader& fields, const char* name, bool plain,
                       bool texts) {
  std::string text;
  fields.String(name, &text);
  if (!fields.ok()) return ErrorReply(*fields.error());
  if (plain) {
    return TokensReply(engine, engine.tokenizer().Encode(text, /*allow_special=*/false), texts);
  }
  const auto ids = PromptFromText(engine, text, PromptUse::kCount);
  if (!ids.ok()) return ErrorReply(ApiErrorFromStatus(ids.status(), name));
  return TokensReply(engine, *ids, texts);
}

}  // namespace

// {"text": ...}, by other servers' names "prompt" or "content", gives what /v1/completions reads,
// or with "plain": true the text alone, with no BOS and no special tokens; {"messages": ...} gives
// what /v1/chat/completions reads. Of any length. "texts": true adds the text of each token, as
// TokenTexts has them, and the positions of special tokens.
HttpReply HandleTokenize(HttpContext& context, const HttpRequest& request) {
  nlohmann::json json;
  if (auto error = ReadJson(request, &json)) return ErrorReply(*error);
  const Engine& engine = context.engine;
  FieldReader fields(json);
  bool plain = false;
  fields.Bool("plain", &plain);
  bool texts = false;
  fields.Bool("texts", &texts);
  for (const char* name : {"text", "prompt", "content"}) {
    if (fields.Find(name) != nullptr) return TokenizeText(engine, fields, name, plain, texts);
  }
  if (fields.Find("messages") == nullptr) {
    return ErrorReply(BadParam("text", "One of 'text' and 'messages' is needed."));
  }
  std::vector<ChatMessage> messages;
  ReadMessages(fields, &messages);
  if (plain) fields.Fail("plain", "goes with 'text' only");
  if (!fields.ok()) return ErrorReply(*fields.error());
  const auto ids = PromptFromChat(engine, messages, PromptUse::kCount);
  if (!ids.ok()) return ErrorReply(ApiErrorFromStatus(ids.status(), "messages"));
  return TokensReply(engine, *ids, texts);
}

// {"tokens": [...]}; special tokens are left out, unless "skip_special_tokens" is false.
HttpReply HandleDetokenize(HttpContext& context, const HttpRequest& request) {
  nlohmann::json json;
  if (auto error = ReadJson(request, &json)) return ErrorReply(*error);
  FieldReader fields(json);
  std::vector<int32_t> ids;
  bool skip_special = true;
  if (fields.Find("tokens") == nullptr) fields.Fail("tokens", "is missing");
  fields.Ints("tokens", 0, context.engine.info().config.vocab_size - 1, kMaxIds, &ids);
  fields.Bool("skip_special_tokens", &skip_special);
  if (!fields.ok()) return ErrorReply(*fields.error());
  return JsonReply(200, {{"text", context.engine.tokenizer().Decode(ids, skip_special)}});
}

}  // namespace skipserve
