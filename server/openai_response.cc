#include "server/openai_response.h"

#include <utility>

#include "server/openai_logprobs.h"
#include "server/openai_report.h"

namespace skipserve {
namespace {

const char* ReasonName(FinishReason reason) {
  return reason == FinishReason::kLength ? "length" : "stop";
}

}  // namespace

OpenAiResponse::OpenAiResponse(ResponseIdentity identity, const OpenAiRequest& request, int choices,
                               const Tokenizer& tokenizer)
    : identity_(std::move(identity)),
      request_(request),
      tokenizer_(tokenizer),
      choices_(static_cast<size_t>(choices)),
      reports_(static_cast<size_t>(choices)) {}

OrderedJson OpenAiResponse::Envelope(bool chunk) const {
  const char* object = !chat() ? "text_completion"
                       : chunk ? "chat.completion.chunk"
                               : "chat.completion";
  OrderedJson json = {{"id", identity_.id},
                      {"object", object},
                      {"created", identity_.created},
                      {"model", identity_.model},
                      {"choices", OrderedJson::array()}};
  // OpenAI: with include_usage every chunk has the field, null in all but the last.
  if (chunk && request_.include_usage) json["usage"] = nullptr;
  return json;
}

OrderedJson OpenAiResponse::Logprobs(Choice& choice, absl::Span<const TokenEvent> tokens) {
  if (!wants_logprobs()) return nullptr;
  return chat() ? ChatLogprobs(tokens, tokenizer_)
                : CompletionLogprobs(tokens, tokenizer_, &choice.offset);
}

OrderedJson OpenAiResponse::Chunk(int index, const std::string& text, OrderedJson logprobs) {
  OrderedJson choice = {{"index", index}};
  if (!chat()) {
    choice["text"] = text;
  } else {
    choice["delta"] =
        text.empty() && logprobs.is_null() ? OrderedJson::object() : OrderedJson{{"content", text}};
  }
  choice["logprobs"] = std::move(logprobs);
  choice["finish_reason"] = nullptr;
  OrderedJson chunk = Envelope(true);
  chunk["choices"].push_back(std::move(choice));
  return chunk;
}

void OpenAiResponse::AddRoleChunk(int index, std::vector<OrderedJson>* out) {
  Choice& choice = choices_[static_cast<size_t>(index)];
  if (choice.started) return;
  choice.started = true;
  if (!chat()) return;
  OrderedJson chunk = Chunk(index, "", nullptr);
  chunk["choices"][0]["delta"] = {{"role", "assistant"}, {"content", ""}};
  out->push_back(std::move(chunk));
}

std::vector<OrderedJson> OpenAiResponse::OnToken(int index, const TokenEvent& event) {
  std::vector<OrderedJson> chunks;
  AddRoleChunk(index, &chunks);
  if (event.text.empty() && !wants_logprobs()) return chunks;
  Choice& choice = choices_[static_cast<size_t>(index)];
  chunks.push_back(Chunk(index, event.text, Logprobs(choice, absl::MakeConstSpan(&event, 1))));
  return chunks;
}

std::vector<OrderedJson> OpenAiResponse::OnFinish(int index, const FinishEvent& event) {
  std::vector<OrderedJson> chunks;
  NoteFinish(index, event);
  if (!event.status.ok()) return chunks;
  AddRoleChunk(index, &chunks);
  if (!event.text.empty()) chunks.push_back(Chunk(index, event.text, nullptr));
  OrderedJson last = Chunk(index, "", nullptr);
  last["choices"][0]["finish_reason"] = ReasonName(event.reason);
  if (choices_.size() > 1) {
    last["choices"][0]["skip"] = SkipJson(event.report);
    last["choices"][0]["timings"] = TimingsJson(event.report);
  }
  if (done() && !failure_) {
    if (request_.include_usage) {
      chunks.push_back(std::move(last));
      last = Envelope(true);
      last["usage"] = UsageJson(reports_, request_.n);
    }
    AddReports(&last);
  }
  chunks.push_back(std::move(last));
  return chunks;
}

void OpenAiResponse::NoteFinish(int index, const FinishEvent& event) {
  Choice& choice = choices_[static_cast<size_t>(index)];
  if (choice.finished) return;
  choice.finished = true;
  choice.reason = event.reason;
  reports_[static_cast<size_t>(index)] = event.report;
  ++finished_;
  if (!event.status.ok() && !failure_) failure_ = event.status;
}

void OpenAiResponse::CollectToken(int index, TokenEvent event) {
  Choice& choice = choices_[static_cast<size_t>(index)];
  choice.text += event.text;
  if (wants_logprobs()) choice.tokens.push_back(std::move(event));
}

void OpenAiResponse::CollectFinish(int index, FinishEvent event) {
  choices_[static_cast<size_t>(index)].text += event.text;
  NoteFinish(index, event);
}

OrderedJson OpenAiResponse::Whole() {
  OrderedJson json = Envelope(false);
  for (size_t i = 0; i < choices_.size(); ++i) {
    Choice& choice = choices_[i];
    OrderedJson entry = {{"index", i}};
    if (chat()) {
      entry["message"] = {{"role", "assistant"}, {"content", choice.text}, {"refusal", nullptr}};
    } else {
      entry["text"] = choice.text;
    }
    entry["logprobs"] = Logprobs(choice, choice.tokens);
    entry["finish_reason"] = ReasonName(choice.reason);
    if (choices_.size() > 1) {
      entry["skip"] = SkipJson(reports_[i]);
      entry["timings"] = TimingsJson(reports_[i]);
    }
    json["choices"].push_back(std::move(entry));
  }
  json["usage"] = UsageJson(reports_, request_.n);
  AddReports(&json);
  return json;
}

// Where there are several choices these are the first one's, and each choice carries its own beside
// its text.
void OpenAiResponse::AddReports(OrderedJson* json) const {
  (*json)["skip"] = SkipJson(reports_.front());
  (*json)["timings"] = TimingsJson(reports_.front());
}

}  // namespace skipserve
