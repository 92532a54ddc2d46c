// Python's string methods on texts, each byte of the result keeping its provenance; the filters use
// them too. Plain functions, safe from any thread, each on its own Run.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "engine/jinja_run.h"
#include "engine/jinja_value.h"

namespace skipserve::jinja {

enum class Side { kBoth, kLeft, kRight };

// Without the characters of `chars` at its ends; null means white space.
Text Strip(const Text& text, const Text* chars, Side side);
enum class Case { kUpper, kLower, kCapitalized };
Text ChangeCase(const Text& text, Case to);
// At most `count` replacements, all where negative.
Value Replace(Run* run, const Text& text, const Text& old, const Text& by, int64_t count);
Value Join(Run* run, const Text& separator, const std::vector<Value>& items);

// Whether any value has a method of this name, and value.name(args); dicts' methods are here as
// well.
bool IsMethod(absl::string_view name);
Value CallMethod(Run* run, const Value& value, const std::string& name, const Args& args);

}  // namespace skipserve::jinja
