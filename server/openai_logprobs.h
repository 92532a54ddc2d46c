// Log-probabilities in the forms of OpenAI's two APIs. Pure functions.
#pragma once

#include <cstdint>

#include "absl/types/span.h"
#include "engine/request.h"
#include "engine/tokenizer.h"
#include "server/openai_error.h"

namespace skipserve {

// Chat: {"content": [{"token", "logprob", "bytes", "top_logprobs": [...]}], "refusal": null}.
OrderedJson ChatLogprobs(absl::Span<const TokenEvent> tokens, const Tokenizer& tokenizer);

// Completions: {"tokens", "token_logprobs", "top_logprobs", "text_offset"}, parallel lists. Offsets
// count characters of the answer, the prompt not included; `*offset` is where these tokens begin
// and, afterwards, end.
OrderedJson CompletionLogprobs(absl::Span<const TokenEvent> tokens, const Tokenizer& tokenizer,
                               int64_t* offset);

}  // namespace skipserve
