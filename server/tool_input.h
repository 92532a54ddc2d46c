// What the command-line tools read: documents, and the words after --skip. Every
// error is one line that names the file or the flag. No state.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/engine.h"

namespace skipserve {

// A whole file; "-" is standard input. At most 256 MB.
absl::StatusOr<std::string> ReadDocument(const std::string& path);

// "off", "auto", the name of a level, a policy as JSON, or @FILE with one. Whether the model has
// the level is for the engine to say.
absl::StatusOr<SkipRequest> ParseSkip(const std::string& text);

// What is asked: a document, free text and a question, those that were given, with a blank line
// between.
struct Question {
  std::string document_path;  // "": none
  std::string prompt;
  std::string question;
  bool raw = false;  // without the chat template
};

// One user message through the chat template, or the text as it is. Checks that an answer of
// `max_tokens` (0: the engine's default, which gives way) fits the context.
absl::StatusOr<std::vector<int32_t>> BuildPrompt(const Engine& engine, const Question& question,
                                                 int64_t max_tokens);

}  // namespace skipserve
