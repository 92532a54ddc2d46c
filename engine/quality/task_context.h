// What the families share while one task is made. Internal to this folder; one thread.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "engine/chat_template.h"
#include "engine/quality/document_pool.h"
#include "engine/quality/random.h"
#include "engine/quality/tasks.h"
#include "engine/tokenizer.h"

namespace skipserve {

struct TaskContext {
  const Tokenizer& tokenizer;
  const ChatTemplate* chat;  // may be null
  const DocumentPool& pool;
  int64_t tokens;
  int64_t index;
  bool held_out;
  Random random;  // the same for every length

  // Enough text for the whole prompt, if there is so much.
  absl::StatusOr<std::string> Text(DocumentPool::Kind kind) const;
};

// facts.cc
absl::StatusOr<Task> MakeFact(TaskContext& context);
absl::StatusOr<Task> MakeQuestionFirst(TaskContext& context);
absl::StatusOr<Task> MakeTwoQuestions(TaskContext& context);
absl::StatusOr<Task> MakeSecondTurn(TaskContext& context);

// document_tasks.cc
absl::StatusOr<Task> MakeSummary(TaskContext& context);
absl::StatusOr<Task> MakeContinuation(TaskContext& context);

}  // namespace skipserve
