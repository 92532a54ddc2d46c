// See the header.
#include "engine/quality/tasks.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/quality/task_context.h"
#include "engine/status_macros.h"
#include "engine/utf8.h"
#include "engine/utf8_unicode.h"

namespace skipserve {
namespace {

// More than any text has for a token on the average, but for one of blanks.
constexpr size_t kBytesPerToken = 12;
constexpr int64_t kMostTokens = int64_t{1} << 24;

struct Family {
  absl::string_view name;
  absl::StatusOr<Task> (*make)(TaskContext& context);
};

constexpr Family kFamilies[] = {
    {"fact", MakeFact},
    {"question_first", MakeQuestionFirst},
    {"two_questions", MakeTwoQuestions},
    {"second_turn", MakeSecondTurn},
    {"needle_keys", MakeNeedleKeys},
    {"needle_values", MakeNeedleValues},
    {"needle_queries", MakeNeedleQueries},
    {"variable_tracking", MakeVariableTracking},
    {"common_words", MakeCommonWords},
    {"frequent_words", MakeFrequentWords},
    {"summary", MakeSummary},
    {"real_question", MakeRealQuestion},
    {"code", MakeCode},
    {"continuation", MakeContinuation},
};

constexpr auto kNames = [] {
  std::array<absl::string_view, std::size(kFamilies)> names;
  for (size_t i = 0; i < names.size(); ++i) names[i] = kFamilies[i].name;
  return names;
}();

}  // namespace

absl::StatusOr<std::string> TaskContext::Text(DocumentPool::Kind kind) const {
  const size_t bytes = static_cast<size_t>(tokens + kContinuation) * kBytesPerToken;
  ASSIGN_OR_RETURN(std::string text, pool.Text(kind, held_out, index, bytes, random));
  if (text.size() > bytes) text.resize(SettledUtf8Length(absl::string_view(text).substr(0, bytes)));
  // In the form in which the tokens will have it, so that it can be found among them.
  if (tokenizer.spec().nfc) text = ToNfc(ReplaceInvalidUtf8(text));
  return text;
}

std::string TaskContext::Number(int64_t low, int64_t high) {
  return absl::StrCat(random.Between(low / 2, high / 2 - 1) * 2 + held_out);
}

absl::Span<const absl::string_view> TaskFamilies() { return kNames; }

TaskMaker::TaskMaker(const Tokenizer& tokenizer, const ChatTemplate* chat,
                     std::vector<Document> documents)
    : tokenizer_(tokenizer), chat_(chat), pool_(std::move(documents)) {}

absl::StatusOr<Task> TaskMaker::Make(absl::string_view family, int64_t tokens, int64_t index,
                                     const TaskOptions& options) const {
  const auto* made_by = std::find_if(std::begin(kFamilies), std::end(kFamilies),
                                     [&](const Family& f) { return f.name == family; });
  if (made_by == std::end(kFamilies)) {
    return absl::InvalidArgumentError(absl::StrCat("no family of tasks is called ", family,
                                                   "; there are ", absl::StrJoin(kNames, ", ")));
  }
  if (tokens < 1 || tokens > kMostTokens || index < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("tokens must be 1 to ", kMostTokens, " and the index not negative"));
  }
  Random random(options.seed);
  random.Mix(absl::StrCat(family, index, options.held_out ? "h" : "c"));
  TaskContext context{tokenizer_, chat_, pool_, tokens, index, options.held_out, random};
  ASSIGN_OR_RETURN(Task task, made_by->make(context));
  task.family = std::string(family);
  return task;
}

}  // namespace skipserve
