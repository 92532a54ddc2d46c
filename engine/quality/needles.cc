// Numbers for keys, hidden in a real document: one of many keys is asked for, one key with several
// numbers, or several keys at once.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "engine/quality/planted.h"
#include "engine/quality/prompt_fit.h"
#include "engine/quality/ruler_words.h"
#include "engine/quality/score.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

constexpr size_t kAsked = 3;               // numbers of one key, and keys at once
constexpr int64_t kTokensPerNeedle = 256;  // of the family with many keys
constexpr int64_t kMostNeedles = 400;

constexpr Wording kBefore = {
    "The following text has some secret serial numbers in it. You will be asked about them.\n\n",
    "Some special magic numbers are hidden within the following text. Make sure to memorize them. "
    "I will quiz you about the numbers afterwards.\n\n"};
constexpr Wording kSentence = {"The secret serial number of {key} is {number}.",
                               "The special magic number for {key} is {number}."};
constexpr Wording kOne = {
    "\n\nWhat is the secret serial number of {key} that the text gives?",
    "\n\nWhat is the special magic number for {key} mentioned in the text above?"};
constexpr Wording kAll = {
    "\n\nWhich secret serial numbers of {key} does the text give? Name all {count}.",
    "\n\nWhat are all {count} special magic numbers for {key} mentioned in the text above?"};
constexpr Wording kSeveral = {
    "\n\nWhat are the secret serial numbers of {key} that the text gives?",
    "\n\nWhat are the special magic numbers for {key} mentioned in the text above?"};

std::string Fill(const Wording& wording, const TaskContext& context, absl::string_view key,
                 absl::string_view number) {
  return absl::StrReplaceAll(
      wording.For(context),
      {{"{key}", key}, {"{number}", number}, {"{count}", absl::StrCat(kAsked)}});
}

// Plants the keys' numbers, one each; the first `asked` of them are the answers.
absl::StatusOr<Task> Hide(TaskContext& context, const std::vector<std::string>& keys, size_t asked,
                          const std::string& question) {
  ASSIGN_OR_RETURN(std::string text, context.Text(DocumentPool::Kind::kProse));
  const AnswerText around(text);
  std::vector<std::string> numbers;
  while (numbers.size() < keys.size()) {
    std::string number = context.Number(1000000, 10000000);
    if (around.Has(number) || std::count(numbers.begin(), numbers.end(), number) > 0) continue;
    numbers.push_back(std::move(number));
  }
  // Evenly spread, in random order, so that what is asked for may be anywhere.
  std::vector<size_t> order(keys.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  context.random.Shuffle(&order);
  std::vector<PlantedLine> lines;
  for (size_t i = 0; i < order.size(); ++i) {
    const double depth =
        (static_cast<double>(i) + context.random.Share()) / static_cast<double>(order.size());
    lines.push_back(
        {0.02 + 0.96 * depth, Fill(kSentence, context, keys[order[i]], numbers[order[i]])});
  }
  const Frame frame{std::string(kBefore.For(context)), question, {}};
  ASSIGN_OR_RETURN(Task task,
                   FitPrompt(context, frame, PlantedDocument(std::move(text), std::move(lines))));
  Ask(std::move(numbers), asked, kAnswerTokens, task);
  return task;
}

}  // namespace

absl::StatusOr<Task> MakeNeedleKeys(TaskContext& context) {
  const int64_t count = std::clamp<int64_t>(context.tokens / kTokensPerNeedle, 4, kMostNeedles);
  const std::vector<std::string> keys = DrawKeys(context, static_cast<size_t>(count));
  return Hide(context, keys, 1, Fill(kOne, context, keys[0], ""));
}

absl::StatusOr<Task> MakeNeedleValues(TaskContext& context) {
  const std::vector<std::string> keys(kAsked, DrawKeys(context, 1)[0]);
  return Hide(context, keys, kAsked, Fill(kAll, context, keys[0], ""));
}

// As many keys again are not asked for.
absl::StatusOr<Task> MakeNeedleQueries(TaskContext& context) {
  const std::vector<std::string> keys = DrawKeys(context, 2 * kAsked);
  const std::string list = absl::StrCat(
      absl::StrJoin(keys.begin(), keys.begin() + kAsked - 1, ", "), " and ", keys[kAsked - 1]);
  return Hide(context, keys, kAsked, Fill(kSeveral, context, list, ""));
}

}  // namespace skipserve
