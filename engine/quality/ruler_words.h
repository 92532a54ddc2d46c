// Keys, plain words and made-up words for the tasks in the manner of RULER (arXiv 2404.06654). The
// two splits share none. Plain functions.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "engine/quality/task_context.h"

namespace skipserve {

// Different keys of an adjective and a noun, such as "quiet-lantern".
std::vector<std::string> DrawKeys(TaskContext& context, size_t count);

// All the nouns of the split, in random order. At least 50.
std::vector<std::string> DrawNouns(TaskContext& context);

// Different words of six letters that mean nothing; there are 64,000.
std::vector<std::string> DrawMadeUpWords(TaskContext& context, size_t count);

}  // namespace skipserve
