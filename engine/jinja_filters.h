// Jinja's filters and tests, by name. Plain functions, safe from any thread, each on its own Run.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "engine/jinja_run.h"
#include "engine/jinja_value.h"

namespace skipserve::jinja {

bool IsFilter(absl::string_view name);
// value | name(args)
Value ApplyFilter(Run* run, const std::string& name, const Value& value, const Args& args);

bool IsTest(absl::string_view name);
// value is name(args)
bool ApplyTest(Run* run, const std::string& name, const Value& value, const Args& args);

// As json.dumps of Python writes it with ensure_ascii off; a negative indent means one line.
Text ToJson(Run* run, const Value& value, int64_t indent);

}  // namespace skipserve::jinja
