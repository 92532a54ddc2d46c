// One self-contained HTML page that shows how deep each token of a prompt was computed: the text
// coloured by depth, and a picture of all layers. No external resources, no network, no measuring.
// Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "engine/engine.h"
#include "nlohmann/json.hpp"
#include "server/run_request.h"

namespace skipserve {

struct InspectedRun {
  std::vector<int32_t> prompt;
  std::string document;  // its path; may be empty
  std::string question;
  RunOutcome outcome;  // with rows and layers in its report
};

std::string InspectPage(const ModelInfo& model, const Tokenizer& tokenizer,
                        const InspectedRun& run);

// The page's data. "texts" has one string for each token; joined they are the prompt's text. A
// token that ends inside a character has "", and the one that completes it has the whole.
// "attention" and "ffn" have a string for each layer: "*" where every token was computed, else a
// bitmap in base64, position p being bit p % 8 of byte p / 8.
nlohmann::json InspectData(const ModelInfo& model, const Tokenizer& tokenizer,
                           const InspectedRun& run);

// JSON that may stand inside a <script> element whatever its strings contain.
std::string ScriptSafeJson(const nlohmann::json& json);

}  // namespace skipserve
