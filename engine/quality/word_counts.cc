// Lists of words of which some are there more often than all others: which ones? The whole list
// bears on the answer, so no few tokens can carry it.
#include <algorithm>
#include <memory>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/quality/prompt_fit.h"
#include "engine/quality/ruler_words.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

constexpr size_t kCommon = 5;
constexpr size_t kFrequent = 3;

constexpr Wording kCommonBefore = {
    "Here is a long list of words with their numbers. A few of the words come again and again."
    "\n\n",
    "Below is a numbered list of words. In these words, some appear more often than others. "
    "Memorize the ones that appear most often.\n\n"};
constexpr Wording kCommonQuestion = {"\n\nWhich 5 words are in the list most often?",
                                     "\n\nWhat are the 5 most common words in the above list?"};
constexpr Wording kFrequentBefore = {
    "The following text is in a secret language. Note which of its words are used most.\n\n",
    "Read the following coded text and track the frequency of each coded word.\n\n"};
constexpr Wording kFrequentQuestion = {
    "\n\nWhich three words of the secret language are used most in the text?",
    "\n\nWhat are the three most frequently appeared words in the above coded text?"};

// Words in rounds: every round has each of `often` as many times as it says, and the next `rare` of
// the others, in random order. So the shares are the same in any long beginning of the list.
std::vector<std::string> Rounds(TaskContext& context, const std::vector<std::string>& words,
                                const std::vector<int>& often, size_t rare) {
  std::vector<std::string> list;
  size_t next = often.size();
  while (static_cast<int64_t>(list.size()) < context.tokens) {
    std::vector<std::string> round;
    for (size_t i = 0; i < often.size(); ++i) round.insert(round.end(), often[i], words[i]);
    for (size_t i = 0; i < rare; ++i) {
      round.push_back(words[next]);
      if (++next == words.size()) next = often.size();
    }
    context.random.Shuffle(&round);
    list.insert(list.end(), round.begin(), round.end());
  }
  return list;
}

// The texts of the list's beginnings; `numbered` as in "1. anchor 2. basket".
Growing GrowingList(const std::vector<std::string>& list, bool numbered) {
  std::string text;
  std::vector<size_t> ends = {0};
  for (size_t i = 0; i < list.size(); ++i) {
    if (i > 0) text += ' ';
    if (numbered) absl::StrAppend(&text, i + 1, ". ");
    text += list[i];
    ends.push_back(text.size());
  }
  const auto whole = std::make_shared<const std::string>(std::move(text));
  return {static_cast<int64_t>(list.size()), [whole, ends](int64_t size) {
            return whole->substr(0, ends[static_cast<size_t>(size)]);
          }};
}

// The first `asked` words must each be there more often than all others: not so in a list that is
// too short.
absl::Status CheckCounts(const std::string& text, const std::vector<std::string>& words,
                         size_t asked) {
  absl::flat_hash_map<std::string, int> counts;
  for (const absl::string_view word : absl::StrSplit(text, ' ')) ++counts[std::string(word)];
  int least = counts[words[0]], most = 0;
  for (size_t i = 0; i < words.size(); ++i) {
    if (i < asked) least = std::min(least, counts[words[i]]);
    if (i >= asked) most = std::max(most, counts[words[i]]);
  }
  if (least > most) return absl::OkStatus();
  return absl::InvalidArgumentError("so few tokens make no list of words with some more frequent");
}

absl::StatusOr<Task> Finish(const TaskContext& context, const Frame& frame, const Growing& document,
                            std::vector<std::string> words, size_t asked) {
  std::string text;
  ASSIGN_OR_RETURN(Task task, FitPrompt(context, frame, document, &text));
  RETURN_IF_ERROR(CheckCounts(text, words, asked));
  Ask(std::move(words), asked, kAnswerTokens, task);
  return task;
}

}  // namespace

// In a hundred words ten of each common one and one of each other.
absl::StatusOr<Task> MakeCommonWords(TaskContext& context) {
  std::vector<std::string> words = DrawNouns(context);
  const auto list = Rounds(context, words, std::vector<int>(kCommon, 2), 10);
  const Frame frame{
      std::string(kCommonBefore.For(context)), std::string(kCommonQuestion.For(context)), {}};
  return Finish(context, frame, GrowingList(list, /*numbered=*/true), std::move(words), kCommon);
}

// As often as a zeta distribution of exponent 2 has its first words, then many rare ones.
absl::StatusOr<Task> MakeFrequentWords(TaskContext& context) {
  std::vector<std::string> words = DrawMadeUpWords(context, 200);
  const auto list = Rounds(context, words, {36, 9, 4, 2}, 9);
  const Frame frame{
      std::string(kFrequentBefore.For(context)), std::string(kFrequentQuestion.For(context)), {}};
  return Finish(context, frame, GrowingList(list, /*numbered=*/false), std::move(words), kFrequent);
}

}  // namespace skipserve
