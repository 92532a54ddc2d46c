// What the families share while one task is made. Internal to this folder; one thread.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
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

  // Enough text for the whole prompt and what may follow it, if there is so much.
  absl::StatusOr<std::string> Text(DocumentPool::Kind kind) const;
  // A number of [low, high), both even: an even one for one split and an odd one for the other, so
  // that they share none.
  std::string Number(int64_t low, int64_t high);
};

// What the wordings of a task are: one for each split.
struct Wording {
  absl::string_view calibration, held_out;
  absl::string_view For(const TaskContext& context) const {
    return context.held_out ? held_out : calibration;
  }
};

constexpr int64_t kContinuation = 128;  // tokens of a text that follow a raw prompt
constexpr int64_t kAnswerTokens = 24;   // for every answer that is asked for

// fact_tasks.cc
absl::StatusOr<Task> MakeFact(TaskContext& context);
absl::StatusOr<Task> MakeQuestionFirst(TaskContext& context);
absl::StatusOr<Task> MakeTwoQuestions(TaskContext& context);
absl::StatusOr<Task> MakeSecondTurn(TaskContext& context);

// document_tasks.cc
absl::StatusOr<Task> MakeCode(TaskContext& context);
absl::StatusOr<Task> MakeRealQuestion(TaskContext& context);
absl::StatusOr<Task> MakeSummary(TaskContext& context);
absl::StatusOr<Task> MakeContinuation(TaskContext& context);

// needles.cc
absl::StatusOr<Task> MakeNeedleKeys(TaskContext& context);
absl::StatusOr<Task> MakeNeedleValues(TaskContext& context);
absl::StatusOr<Task> MakeNeedleQueries(TaskContext& context);

// variables.cc
absl::StatusOr<Task> MakeVariableTracking(TaskContext& context);

// word_counts.cc
absl::StatusOr<Task> MakeCommonWords(TaskContext& context);
absl::StatusOr<Task> MakeFrequentWords(TaskContext& context);

}  // namespace skipserve
