// OpenAI's request bodies, read into what the engine takes. Pure functions of JSON and the model's
// facts; tokenizing comes later. Unknown fields are ignored; a field of ours or OpenAI's with a bad
// value is an error that names it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "nlohmann/json.hpp"
#include "server/openai_error.h"

namespace skipserve {

enum class OpenAiApi { kChat, kCompletions };

// One prompt of a call to /v1/completions: text, or token ids.
struct OpenAiPrompt {
  std::string text;
  std::vector<int32_t> ids;
  bool is_ids = false;
};

struct OpenAiRequest {
  OpenAiApi api = OpenAiApi::kChat;
  std::string model;                  // as asked for; empty: the default
  std::vector<ChatMessage> messages;  // kChat
  std::vector<OpenAiPrompt> prompts;  // kCompletions
  GenerateRequest generate;           // all but the prompt
  int n = 1;
  bool stream = false;
  bool include_usage = false;  // in a stream; the plain response always has it
  bool has_seed = false;       // else the caller draws one
};

std::optional<ApiError> ParseOpenAiRequest(OpenAiApi api, const nlohmann::json& body,
                                           const ModelInfo& model, OpenAiRequest* out);

class FieldReader;

// The parts of ParseOpenAiRequest; each records its complaint in `fields`.
void ReadSampling(FieldReader& fields, const ModelInfo& model, OpenAiRequest* out);
void ReadStopRules(FieldReader& fields, const ModelInfo& model, StopRules* out);
void ReadMessages(FieldReader& fields, std::vector<ChatMessage>* out);
void ReadPrompts(FieldReader& fields, const ModelInfo& model, std::vector<OpenAiPrompt>* out);
void ReadCacheSalt(FieldReader& fields, std::string* out);
// "skip", with what its report is to have.
void ReadSkip(FieldReader& fields, const ModelInfo& model, GenerateRequest* out);

}  // namespace skipserve
