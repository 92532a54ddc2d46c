// See the headers.
#include "engine/quality/score.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/ascii.h"
#include "engine/quality/tasks.h"

namespace skipserve {
namespace {

bool IsDigit(absl::string_view text, size_t at) {
  return at < text.size() && absl::ascii_isdigit(text[at]);
}

// A comma that groups a number's digits: some before it and exactly three after it.
bool GroupsDigits(absl::string_view text, size_t at) {
  return text[at] == ',' && at > 0 && IsDigit(text, at - 1) && IsDigit(text, at + 1) &&
         IsDigit(text, at + 2) && IsDigit(text, at + 3) && !IsDigit(text, at + 4);
}

}  // namespace

AnswerText::AnswerText(absl::string_view text) {
  text_.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (!GroupsDigits(text, i)) text_.push_back(absl::ascii_tolower(text[i]));
  }
}

bool AnswerText::Has(absl::string_view answer) const {
  const std::string wanted = absl::AsciiStrToLower(answer);
  if (wanted.empty()) return true;
  const absl::string_view text = text_;
  for (size_t at = text.find(wanted); at != absl::string_view::npos;
       at = text.find(wanted, at + 1)) {
    const size_t end = at + wanted.size();
    const bool begins =
        at == 0 || !absl::ascii_isalnum(text[at - 1]) || !absl::ascii_isalnum(wanted.front());
    const bool ends = !IsDigit(wanted, wanted.size() - 1) || !IsDigit(text, end);
    if (begins && ends) return true;
  }
  return false;
}

double ScoreAnswer(const Task& task, absl::string_view answer) {
  if (task.answers.empty()) return 1;
  const AnswerText text(answer);
  const auto found = std::count_if(task.answers.begin(), task.answers.end(),
                                   [&](const std::string& wanted) { return text.Has(wanted); });
  return static_cast<double>(found) / static_cast<double>(task.answers.size());
}

}  // namespace skipserve
