// See the header.
#include "engine/quality/facts.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "engine/quality/fact_words.h"
#include "engine/quality/score.h"

namespace skipserve {
namespace {

constexpr int kTries = 200;

Fact Draw(TaskContext& context, const FactTemplate& from) {
  std::vector<std::pair<std::string, std::string>> values = {
      {"{code}", context.Number(1000, 10000)},
      {"{count}", context.Number(100, 1000)},
      {"{year}", context.Number(1700, 1990)}};
  for (const SlotWords& slot : FactWords(context.held_out)) {
    const std::vector<absl::string_view> words = absl::StrSplit(slot.words, '|');
    values.emplace_back(absl::StrCat("{", slot.slot, "}"), context.random.Pick(words));
  }
  return {absl::StrReplaceAll(from.sentence, values), absl::StrReplaceAll(from.question, values),
          absl::StrReplaceAll(from.answer, values)};
}

bool Clash(const Fact& a, const Fact& b) {
  return AnswerText(absl::StrCat(a.sentence, "\n", a.question)).Has(b.answer) ||
         AnswerText(absl::StrCat(b.sentence, "\n", b.question)).Has(a.answer);
}

}  // namespace

absl::StatusOr<std::vector<Fact>> DrawFacts(TaskContext& context, absl::string_view text,
                                            size_t count) {
  const absl::Span<const FactTemplate> templates = FactTemplates(context.held_out);
  const AnswerText around(text);
  std::vector<Fact> facts;
  size_t next = static_cast<size_t>(context.index);
  for (int tries = 0; tries < kTries && facts.size() < count; ++tries) {
    Fact fact = Draw(context, templates[next % templates.size()]);
    const bool known =
        around.Has(fact.answer) || AnswerText(fact.question).Has(fact.answer) ||
        std::any_of(facts.begin(), facts.end(), [&](const Fact& f) { return Clash(f, fact); });
    if (!known) facts.push_back(std::move(fact));
    // Another template for the next fact, and where this one's words are all in the text.
    if (!known || tries % 8 == 7) next += 7;
  }
  if (facts.size() == count) return facts;
  return absl::NotFoundError("the documents have every answer that could be planted in them");
}

}  // namespace skipserve
