// Facts in plain words, drawn from templates and word lists. Internal to this folder.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/quality/task_context.h"

namespace skipserve {

struct Fact {
  std::string sentence, question, answer;
};

// So many facts, each of another template. The answer of each is nowhere in `text`, in a question
// or in another's sentence, so that only its own sentence can have told it.
absl::StatusOr<std::vector<Fact>> DrawFacts(TaskContext& context, absl::string_view text,
                                            size_t count);

}  // namespace skipserve
