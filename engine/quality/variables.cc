// Assignments scattered over a real document: which variables have the value that one of them is
// given, the others each by way of the one before. A second chain has another value.
#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "engine/quality/planted.h"
#include "engine/quality/prompt_fit.h"
#include "engine/quality/ruler_words.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

constexpr size_t kChains = 2;
constexpr size_t kVariables = 4;  // of each chain

constexpr Wording kWord = {"CELL", "VAR"};
constexpr Wording kBefore = {
    "The following text has cells that are set to values, some by way of other cells. Keep track "
    "of them.\n\n",
    "Memorize and track the chain of variable assignments hidden in the following text.\n\n"};
constexpr Wording kQuestion = {
    "\n\nWhich cells of the text have the value {value}? Name all {count}.",
    "\n\nFind all variables that are assigned the value {value} in the text above. There are "
    "{count} of them."};

}  // namespace

absl::StatusOr<Task> MakeVariableTracking(TaskContext& context) {
  ASSIGN_OR_RETURN(std::string text, context.Text(DocumentPool::Kind::kProse));
  std::vector<std::string> names = DrawMadeUpWords(context, kChains * kVariables);
  for (std::string& name : names) absl::AsciiStrToUpper(&name);
  const absl::string_view word = kWord.For(context);
  std::vector<PlantedLine> lines;
  std::string asked;
  for (size_t chain = 0; chain < kChains; ++chain) {
    // The first chain's number begins otherwise than the second's, so they are never the same.
    const std::string value =
        chain == 0 ? context.Number(10000, 50000) : context.Number(50000, 100000);
    if (chain == 0) asked = value;
    std::vector<double> depths;
    for (size_t i = 0; i < kVariables; ++i) depths.push_back(0.03 + 0.94 * context.random.Share());
    std::sort(depths.begin(), depths.end());
    for (size_t i = 0; i < kVariables; ++i) {
      const std::string* name = &names[chain * kVariables + i];
      lines.push_back(
          {depths[i], absl::StrCat(word, " ", *name, " = ",
                                   i == 0 ? value : absl::StrCat(word, " ", name[-1]))});
    }
  }
  const Frame frame{
      std::string(kBefore.For(context)),
      absl::StrReplaceAll(kQuestion.For(context),
                          {{"{value}", asked}, {"{count}", absl::StrCat(kVariables)}}),
      {}};
  ASSIGN_OR_RETURN(Task task,
                   FitPrompt(context, frame, PlantedDocument(std::move(text), std::move(lines))));
  Ask(std::move(names), kVariables, kAnswerTokens, task);
  return task;
}

}  // namespace skipserve
