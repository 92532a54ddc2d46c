// Makes a prompt of the length asked for by choosing how long its document is. Internal to this
// folder. Plain functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/quality/task_context.h"

namespace skipserve {

// What stands around the document.
struct Frame {
  std::string before, after;       // in the first user message
  std::vector<ChatMessage> later;  // the messages that follow it
};

// The document at a size between 0 and `most`, in whatever steps its maker likes: small ones, of a
// few tokens, which make it longer and longer.
struct Growing {
  int64_t most = 0;
  std::function<std::string(int64_t)> at;
};

// A task with its prompt and the document's place in it. INVALID_ARGUMENT where even the frame is
// too long, NOT_FOUND where the longest document is too short. `text` becomes the document.
absl::StatusOr<Task> FitPrompt(const TaskContext& context, const Frame& frame,
                               const Growing& document, std::string* text = nullptr);

// The task asks for the first `asked` of `answers`, with room for `tokens_each`.
void Ask(std::vector<std::string> answers, size_t asked, int64_t tokens_each, Task& task);

}  // namespace skipserve
