// What /v1/prefixes takes and gives, between JSON and the engine's terms. Pure functions.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "nlohmann/json.hpp"
#include "server/openai_error.h"

namespace skipserve {

struct OpenAiPrefix {
  std::string model;                  // as asked for; empty: the default
  std::string field;                  // that says what to read: one of the next three's
  std::string text;                   // "prompt"
  std::vector<ChatMessage> messages;  // "messages"
  PrefixRequest request;              // its tokens: "prompt_token_ids"
};

// Unknown fields are ignored; one with a bad value is an error that names it.
std::optional<ApiError> ParsePrefix(const nlohmann::json& body, const ModelInfo& model,
                                    OpenAiPrefix* out);

// {"object": "prefix", "name", "tokens", "kv_blocks", "trunk_layers", "skip_level", "created"}
OrderedJson PrefixJson(const PrefixInfo& info);

// {"object": "list", "data": [prefix, ...]}
OrderedJson PrefixListJson(const std::vector<PrefixInfo>& infos);

}  // namespace skipserve
