// Long prompts whose right answer is known: what the quality of a skip setting is measured with.
// Makes prompts and scores answers; runs no model. Immutable and thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/chat_template.h"
#include "engine/quality/document_pool.h"
#include "engine/quality/documents.h"
#include "engine/tokenizer.h"

namespace skipserve {

// One prompt with what its answer must have.
struct Task {
  std::string family;
  int64_t tokens = 0;           // asked for; the prompt has at most max(16, 1 %) fewer, never more
  std::vector<int32_t> prompt;  // through the chat template; "continuation" and "code" are raw text

  // Tokens [begin, end) of the prompt are the document: what may be dropped from.
  int64_t document_begin = 0, document_end = 0;

  std::vector<std::string> answers;   // may be empty: then only the distributions can be compared
  int64_t max_new_tokens = 0;         // enough for all answers
  std::vector<int32_t> continuation;  // "continuation" and "code": the text's true next tokens
};

struct TaskOptions {
  uint64_t seed = 0;
  // Settings are chosen on the tasks without and reported on those with: they share no template, no
  // drawn word and, where there are two or more, no document.
  bool held_out = false;
};

// All families, by name.
absl::Span<const absl::string_view> TaskFamilies();

class TaskMaker {
 public:
  // The tokenizer and the template outlive this. Without a template (null) a prompt is plain text
  // that ends with "Answer:". Documents that are too short, or there twice, are left out.
  TaskMaker(const Tokenizer& tokenizer, const ChatTemplate* chat, std::vector<Document> documents);

  // The same arguments give the same task. `index` varies document, depth and values; tasks of
  // the same index and different lengths plant the same things at the same depths.
  // INVALID_ARGUMENT: no such family, or `tokens` is too small for it. NOT_FOUND: the documents are
  // too few or too short for so many tokens, or of the wrong kind ("code").
  absl::StatusOr<Task> Make(absl::string_view family, int64_t tokens, int64_t index,
                            const TaskOptions& options = {}) const;

 private:
  const Tokenizer& tokenizer_;
  const ChatTemplate* chat_;
  DocumentPool pool_;
};

// The share of the task's answers that are in the text; 1 where there are none. Letters' case does
// not matter; an answer must begin where a word begins, and a number must be a whole one: 123 is
// not in 41237, and 1240 is in "1,240".
double ScoreAnswer(const Task& task, absl::string_view answer);

}  // namespace skipserve
