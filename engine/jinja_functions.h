// What every template finds there: range, namespace, dict, raise_exception and strftime_now, and a
// loop's `loop`. Plain functions, safe from any thread, each on its own Run.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "engine/jinja_run.h"
#include "engine/jinja_value.h"

namespace skipserve::jinja {

bool IsFunctionName(absl::string_view name);
Value CallFunction(Run* run, const std::string& name, const Args& args);

// `loop` inside a loop over `items`, at the item of index `i`.
Value LoopVariable(Run* run, const std::vector<Value>& items, size_t i);

}  // namespace skipserve::jinja
