// POST /tokenize and /detokenize.
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "server/http_router.h"
#include "server/openai_fields.h"
#include "server/openai_json.h"
#include "server/openai_request.h"
#include "server/prompt.h"

namespace skipserve {
namespace {

constexpr size_t kMaxIds = size_t{4} << 20;

// Plain text as it stands: no BOS is added, and special tokens only where the caller says so.
HttpReply TokenizeText(const Engine& engine, FieldReader& fields, const char* name) {
  std::string text;
  bool special = false;
  fields.String(name, &text);
  fields.Bool("allow_special", &special);
  if (!fields.ok()) return ErrorReply(*fields.error());
  const std::vector<int32_t> ids = engine.tokenizer().Encode(text, special);
  return JsonReply(
      200, {{"tokens", ids}, {"count", ids.size()}, {"max_model_len", engine.info().max_context}});
}

}  // namespace

// {"text": ...}, by other servers' names "prompt" or "content"; or {"messages": ...}, which gives
// exactly what /v1/chat/completions reads.
HttpReply HandleTokenize(HttpContext& context, const HttpRequest& request) {
  nlohmann::json json;
  if (auto error = ParseJsonObject(request.body, &json)) return ErrorReply(*error);
  const Engine& engine = context.engine;
  FieldReader fields(json);
  for (const char* name : {"text", "prompt", "content"}) {
    if (fields.Find(name) != nullptr) return TokenizeText(engine, fields, name);
  }
  if (fields.Find("messages") == nullptr) {
    return ErrorReply(BadParam("text", "One of 'text' and 'messages' is needed."));
  }
  std::vector<ChatMessage> messages;
  ReadMessages(fields, &messages);
  if (!fields.ok()) return ErrorReply(*fields.error());
  const auto ids = PromptFromChat(engine, messages);
  if (!ids.ok()) return ErrorReply(ApiErrorFromStatus(ids.status(), "messages"));
  return JsonReply(
      200,
      {{"tokens", *ids}, {"count", ids->size()}, {"max_model_len", engine.info().max_context}});
}

HttpReply HandleDetokenize(HttpContext& context, const HttpRequest& request) {
  nlohmann::json json;
  if (auto error = ParseJsonObject(request.body, &json)) return ErrorReply(*error);
  FieldReader fields(json);
  std::vector<int32_t> ids;
  bool skip_special = false;
  if (fields.Find("tokens") == nullptr) fields.Fail("tokens", "is missing");
  fields.Ints("tokens", 0, context.engine.info().config.vocab_size - 1, kMaxIds, &ids);
  fields.Bool("skip_special_tokens", &skip_special);
  if (!fields.ok()) return ErrorReply(*fields.error());
  return JsonReply(200, {{"text", context.engine.tokenizer().Decode(ids, skip_special)}});
}

}  // namespace skipserve
