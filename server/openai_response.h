// Builds the answers of both completion APIs from the engine's events: the plain response, or the
// chunks of a stream. One per call, one thread. It knows nothing of HTTP.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/request.h"
#include "engine/tokenizer.h"
#include "server/openai_error.h"
#include "server/openai_request.h"

namespace skipserve {

struct ResponseIdentity {
  std::string id;       // "chatcmpl-..." or "cmpl-..."
  std::string model;    // the served name
  int64_t created = 0;  // Unix seconds
};

// What both kinds of response share: where each choice stands.
class OpenAiResponse {
 public:
  // `choices` in all, request.n to a prompt. Tokenizer and request must outlive this.
  OpenAiResponse(ResponseIdentity identity, const OpenAiRequest& request, int choices,
                 const Tokenizer& tokenizer);

  // Chunks to send for an event, in order; none where its text is still held back.
  std::vector<OrderedJson> OnToken(int choice, const TokenEvent& event);
  // The last choice's end also gives what closes the stream, with "skip" and "timings" and, if
  // asked for, "usage".
  std::vector<OrderedJson> OnFinish(int choice, const FinishEvent& event);

  // For the plain response: takes an event in without making chunks, and in the end gives it all.
  void CollectToken(int choice, TokenEvent event);
  void CollectFinish(int choice, FinishEvent event);
  OrderedJson Whole();

  bool done() const { return finished_ == static_cast<int>(choices_.size()); }
  // The first error that a choice ended with.
  const std::optional<absl::Status>& failure() const { return failure_; }

 private:
  struct Choice {
    bool started = false;
    std::string text;
    std::vector<TokenEvent> tokens;  // kept only if log-probabilities were asked for
    int64_t offset = 0;              // in characters, of the tokens so far
    FinishReason reason = FinishReason::kStop;
    bool finished = false;
  };

  bool chat() const { return request_.api == OpenAiApi::kChat; }
  bool wants_logprobs() const { return request_.generate.logprobs >= 0; }
  OrderedJson Envelope(bool chunk) const;
  OrderedJson Logprobs(Choice& choice, absl::Span<const TokenEvent> tokens);
  OrderedJson Chunk(int index, const std::string& text, OrderedJson logprobs);
  void AddRoleChunk(int index, std::vector<OrderedJson>* out);
  void NoteFinish(int choice, const FinishEvent& event);
  void AddReports(OrderedJson* json) const;

  ResponseIdentity identity_;
  const OpenAiRequest& request_;
  const Tokenizer& tokenizer_;
  std::vector<Choice> choices_;
  std::vector<Report> reports_;
  int finished_ = 0;
  std::optional<absl::Status> failure_;
};

}  // namespace skipserve
