// The functions every template may call: range, namespace, dict, raise_exception and strftime_now.
// Plain functions, safe from any thread, each on its own Run.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "engine/jinja_run.h"
#include "engine/jinja_value.h"

namespace skipserve::jinja {

bool IsFunctionName(absl::string_view name);
Value CallFunction(Run* run, const std::string& name, const Args& args);

}  // namespace skipserve::jinja
