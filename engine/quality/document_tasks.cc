// The families that take a real text as it is: no answer is known, the distributions are compared.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/quality/planted.h"
#include "engine/quality/prompt_fit.h"
#include "engine/quality/task_context.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

constexpr int64_t kContinuation = 128;

}  // namespace

absl::StatusOr<Task> MakeSummary(TaskContext& context) {
  ASSIGN_OR_RETURN(std::string text, context.Text(DocumentPool::Kind::kProse));
  const Frame frame{"", "\n\nSummarize the text above in two sentences.", {}};
  ASSIGN_OR_RETURN(Task task, FitPrompt(context, frame, PlantedDocument(std::move(text), {})));
  task.max_new_tokens = kContinuation;
  return task;
}

absl::StatusOr<Task> MakeContinuation(TaskContext& context) {
  ASSIGN_OR_RETURN(const std::string text, context.Text(DocumentPool::Kind::kProse));
  const std::vector<int32_t> ids = EncodePrompt(context.tokenizer, {{text, /*trusted=*/false}});
  const auto size = static_cast<int64_t>(ids.size());
  if (size < context.tokens + kContinuation) {
    return absl::NotFoundError(absl::StrCat("the documents are too short: they have ", size,
                                            " tokens of ", context.tokens, " and ", kContinuation,
                                            "; give more or longer ones"));
  }
  Task task;
  task.tokens = context.tokens;
  task.prompt.assign(ids.begin(), ids.begin() + context.tokens);
  task.continuation.assign(ids.begin() + context.tokens,
                           ids.begin() + context.tokens + kContinuation);
  task.document_begin = context.tokenizer.spec().add_bos ? 1 : 0;
  task.document_end = context.tokens;
  task.max_new_tokens = kContinuation;
  return task;
}

}  // namespace skipserve
