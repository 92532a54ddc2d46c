// Operators and subscripts on values, with Python's meaning. Errors go to the Run; the result is
// then undefined. Safe from any thread, each on its own Run.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "engine/jinja_run.h"
#include "engine/jinja_value.h"

namespace skipserve::jinja {

// One of + - * / // %.
Value Binary(Run* run, const std::string& op, const Value& a, const Value& b);
Value Negate(Run* run, const Value& value);
// One of == != < <= > >= in "not in".
bool Compare(Run* run, const std::string& op, const Value& a, const Value& b);
// `needle in haystack`.
bool Contains(Run* run, const Value& haystack, const Value& needle);

// value.name, methods aside, and value[index]; undefined where there is none.
Value Attribute(Run* run, const Value& value, absl::string_view name);
Value Item(Run* run, const Value& value, const Value& index);
// value[start:stop:step], none for what is left out.
Value Slice(Run* run, const Value& value, const Value& start, const Value& stop, const Value& step);

// What a loop over the value would see: elements, keys, characters; nothing for an undefined value.
std::vector<Value> Iterate(Run* run, const Value& value);
// Python's len().
int64_t Length(Run* run, const Value& value);

}  // namespace skipserve::jinja
