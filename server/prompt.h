// What a client asks about, as the token ids the engine reads: the rules for BOS, special tokens
// and lengths that both front ends share. Pure functions of the engine's tokenizer, template and
// limits.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/engine.h"

namespace skipserve {

// Every error is INVALID_ARGUMENT. BOS goes first where the model wants one and the text does not
// start with it.

// A prompt to be read is refused before it is tokenized, which takes seconds for a huge one, where
// it has more bytes than the context could hold. One that is only counted may have any length.
enum class PromptUse { kRead, kCount };

// Raw text: special tokens written in it are recognised, since whoever sends raw text writes the
// template.
absl::StatusOr<std::vector<int32_t>> PromptFromText(const Engine& engine, absl::string_view text,
                                                    PromptUse use);

// Through the model's chat template, up to where the assistant speaks. Text of messages never
// becomes a special token.
absl::StatusOr<std::vector<int32_t>> PromptFromChat(const Engine& engine,
                                                    absl::Span<const ChatMessage> messages,
                                                    PromptUse use);

// What all chats that begin with these messages have in common: up to the end of the last one's
// text, and not the template's mark of its end, so that a question may follow in the same message
// or after it. To be read.
absl::StatusOr<std::vector<int32_t>> PrefixFromChat(const Engine& engine,
                                                    absl::Span<const ChatMessage> messages);

// Every id is in the vocabulary; `field` is named where one is not.
absl::Status CheckTokenIds(absl::Span<const int32_t> ids, const char* field, int32_t vocab_size);

// Whether there is a prompt, and prompt and answer fit the context; says the numbers. `max_tokens`
// 0: the engine's default, which gives way.
absl::Status CheckContext(const ModelInfo& info, int64_t prompt_tokens, int64_t max_tokens);

// Whether an error of the above is that the context is too small, for clients that look for that.
bool IsTooLong(const absl::Status& status);

}  // namespace skipserve
