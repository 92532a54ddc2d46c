// What /v1/models says of the one model served: OpenAI's fields, its limits, and its skip levels.
// Pure functions.
#pragma once

#include <string>

#include "engine/engine.h"
#include "server/openai_error.h"

namespace skipserve {

// {"name", "policy", "policy_fingerprint", "bounds": [...] by arithmetic}, and "figures" where the
// level was measured.
OrderedJson LevelJson(const SkipLevelInfo& level);

// The levels are in "skip", from gentle to fast.
OrderedJson ModelJson(const std::string& name, int64_t created, const ModelInfo& info,
                      bool has_chat_template);

// {"object": "list", "data": [model]}
OrderedJson ModelListJson(const std::string& name, int64_t created, const ModelInfo& info,
                          bool has_chat_template);

}  // namespace skipserve
