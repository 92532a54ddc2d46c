// What a request cost, as JSON: "usage" as OpenAI has it, and our "skip" and "timings". Pure
// functions.
#pragma once

#include "absl/types/span.h"
#include "engine/request.h"
#include "server/openai_error.h"

namespace skipserve {

// Reports by choice, `per_prompt` to a prompt; a prompt's tokens are counted once however many
// answers it got.
OrderedJson UsageJson(absl::Span<const Report> reports, int per_prompt);

// Level, reason, policy, what it is expected to lose, ratios (0 is dense), and by layer what was
// asked for. What is not known is left out.
OrderedJson SkipJson(const Report& report);

// Seconds.
OrderedJson TimingsJson(const Report& report);

}  // namespace skipserve
