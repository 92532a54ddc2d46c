// The families that plant facts in a real document and ask for them.
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/quality/facts.h"
#include "engine/quality/planted.h"
#include "engine/quality/prompt_fit.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

struct Planted {
  std::vector<Fact> facts;
  Growing document;
};

// Depths of successive indices spread evenly however many there are: multiples of the golden
// ratio. Several facts share the document evenly from there.
absl::StatusOr<Planted> PlantFacts(TaskContext& context, size_t count) {
  ASSIGN_OR_RETURN(std::string text, context.Text(DocumentPool::Kind::kProse));
  Planted planted;
  ASSIGN_OR_RETURN(planted.facts, DrawFacts(context, text, count));
  std::vector<PlantedLine> lines;
  for (size_t i = 0; i < count; ++i) {
    double share = 0.5 + 0.6180339887498949 * static_cast<double>(context.index) +
                   static_cast<double>(i) / static_cast<double>(count);
    share -= static_cast<double>(static_cast<int64_t>(share));
    lines.push_back({0.05 + 0.9 * share, planted.facts[i].sentence});
  }
  planted.document = PlantedDocument(std::move(text), std::move(lines));
  return planted;
}

absl::StatusOr<Task> Finish(const TaskContext& context, const Frame& frame, const Growing& document,
                            std::vector<std::string> answers) {
  ASSIGN_OR_RETURN(Task task, FitPrompt(context, frame, document));
  const size_t asked = answers.size();
  Ask(std::move(answers), asked, kAnswerTokens, task);
  return task;
}

}  // namespace

absl::StatusOr<Task> MakeFact(TaskContext& context) {
  ASSIGN_OR_RETURN(const Planted planted, PlantFacts(context, 1));
  const Fact& fact = planted.facts[0];
  return Finish(context, {"", absl::StrCat("\n\n", fact.question), {}}, planted.document,
                {fact.answer});
}

absl::StatusOr<Task> MakeQuestionFirst(TaskContext& context) {
  ASSIGN_OR_RETURN(const Planted planted, PlantFacts(context, 1));
  const Fact& fact = planted.facts[0];
  return Finish(context, {absl::StrCat(fact.question, "\n\n"), "\n\nAnswer the question.", {}},
                planted.document, {fact.answer});
}

absl::StatusOr<Task> MakeTwoQuestions(TaskContext& context) {
  ASSIGN_OR_RETURN(const Planted planted, PlantFacts(context, 2));
  const Fact &a = planted.facts[0], &b = planted.facts[1];
  return Finish(context, {"", absl::StrCat("\n\n", a.question, " ", b.question), {}},
                planted.document, {a.answer, b.answer});
}

// The first question is answered in the prompt, and the second is what is asked.
absl::StatusOr<Task> MakeSecondTurn(TaskContext& context) {
  ASSIGN_OR_RETURN(const Planted planted, PlantFacts(context, 2));
  const Fact &a = planted.facts[0], &b = planted.facts[1];
  const Frame frame{
      "", absl::StrCat("\n\n", a.question), {{"assistant", a.sentence}, {"user", b.question}}};
  return Finish(context, frame, planted.document, {b.answer});
}

}  // namespace skipserve
