// The families that take a real text as it is: no answer is known, the distributions are compared.
#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/quality/planted.h"
#include "engine/quality/prompt_fit.h"
#include "engine/quality/task_context.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

constexpr Wording kSummarize = {"Write a summary of this text in two sentences.",
                                "Summarize the text above in two sentences."};

constexpr Wording kQuestions[] = {
    {"What sort of document is this?", "What kind of text is this?"},
    {"Who should read this text, and why?", "To whom is this text addressed?"},
    {"Which terms does the text set?", "What are the main conditions in this text?"},
    {"What is the subject of the first part of the text?", "What does the text begin with?"},
    {"Who wrote the text, as far as one can tell?", "Which names are mentioned in the text?"},
    {"Explain the purpose of the text to a child.", "What is the purpose of this text?"},
    {"What should the reader do, according to the text?", "What does the text forbid?"},
};

absl::StatusOr<Task> Ask(TaskContext& context, absl::string_view question) {
  ASSIGN_OR_RETURN(std::string text, context.Text(DocumentPool::Kind::kProse));
  const Frame frame{"", absl::StrCat("\n\n", question), {}};
  ASSIGN_OR_RETURN(Task task, FitPrompt(context, frame, PlantedDocument(std::move(text), {})));
  task.max_new_tokens = kContinuation;
  return task;
}

// Where a prompt of at most `tokens` tokens may end.
using EndsWell = bool (*)(const Tokenizer& tokenizer, absl::Span<const int32_t> ids, int64_t end);

// The longest prompt of those that may be, as raw text, and what follows it.
absl::StatusOr<Task> Continue(const TaskContext& context, DocumentPool::Kind kind,
                              EndsWell ends_well) {
  ASSIGN_OR_RETURN(const std::string text, context.Text(kind));
  const std::vector<int32_t> ids = EncodePrompt(context.tokenizer, {{text, /*trusted=*/false}});
  const auto size = static_cast<int64_t>(ids.size());
  if (size < context.tokens + kContinuation) {
    return absl::NotFoundError(absl::StrCat("the documents are too short: they have ", size,
                                            " tokens of ", context.tokens, " and ", kContinuation,
                                            "; give more or longer ones"));
  }
  int64_t end = context.tokens;
  const int64_t shortest = std::max<int64_t>(1, end - std::max<int64_t>(16, end / 100));
  while (end > shortest && !ends_well(context.tokenizer, ids, end)) --end;
  Task task;
  task.tokens = context.tokens;
  task.prompt.assign(ids.begin(), ids.begin() + end);
  task.continuation.assign(ids.begin() + end, ids.begin() + end + kContinuation);
  task.document_begin = ids.front() == context.tokenizer.spec().bos_id ? 1 : 0;
  task.document_end = end;
  task.max_new_tokens = kContinuation;
  return task;
}

// Between two tokens of one line, with something of the line's own on both sides.
bool InsideLine(const Tokenizer& tokenizer, absl::Span<const int32_t> ids, int64_t end) {
  const auto bytes = [&](int64_t at) { return tokenizer.TokenBytes(ids[static_cast<size_t>(at)]); };
  const auto has_text = [](absl::string_view text) {
    return std::any_of(text.begin(), text.end(), [](char c) { return absl::ascii_isalnum(c); });
  };
  const auto one_line = [](absl::string_view text) {
    return text.find('\n') == absl::string_view::npos;
  };
  return one_line(bytes(end - 1)) && has_text(bytes(end - 1)) && one_line(bytes(end)) &&
         has_text(bytes(end));
}

}  // namespace

absl::StatusOr<Task> MakeSummary(TaskContext& context) {
  return Ask(context, kSummarize.For(context));
}

absl::StatusOr<Task> MakeRealQuestion(TaskContext& context) {
  const size_t at = static_cast<size_t>(context.index) % std::size(kQuestions);
  return Ask(context, kQuestions[at].For(context));
}

absl::StatusOr<Task> MakeCode(TaskContext& context) {
  return Continue(context, DocumentPool::Kind::kCode, InsideLine);
}

absl::StatusOr<Task> MakeContinuation(TaskContext& context) {
  return Continue(context, DocumentPool::Kind::kProse,
                  [](const Tokenizer&, absl::Span<const int32_t>, int64_t) { return true; });
}

}  // namespace skipserve
