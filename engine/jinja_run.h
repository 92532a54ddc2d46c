// What one rendering shares: its first error, the work it may still do, and the clock. It knows
// nothing of templates. One rendering, one thread.
#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/jinja_lexer.h"
#include "engine/jinja_value.h"

namespace skipserve::jinja {

class Run {
 public:
  // `work` is counted in units of about one byte copied; `now` is what strftime_now() reads.
  Run(size_t work, absl::Time now) : work_(work), now_(now) {}

  bool ok() const { return status_.ok(); }
  const absl::Status& status() const { return status_; }
  absl::Time now() const { return now_; }

  // Where the statement or expression being evaluated stands, for error messages.
  int line = 1;

  // Keeps the first error. Gives an undefined value, so that a function can return it.
  Value Fail(const std::string& message) {
    if (status_.ok()) status_ = TemplateError(line, message);
    return Value();
  }

  // False, and an error, when the work is used up. Charged before the work is done.
  bool Charge(size_t units) {
    if (units <= work_) {
      work_ -= units;
      return ok();
    }
    work_ = 0;
    Fail("the template does more work than its input allows");
    return false;
  }

  // The text of a value. One list may stand in another many times over, so this is charged by what
  // it prints as.
  Text Print(const Value& value) { return Charge(value.weight()) ? ToText(value) : Text(); }

  // Charged constructors: everything a template can make grow goes through these.
  Value Make(Text text) { return Charge(text.size() + 4) ? Value(std::move(text)) : Value(); }
  Value MakeList(std::vector<Value> items, bool is_tuple = false) {
    if (!Charge(4 + items.size() * 8)) return Value();
    return Bounded(Value::FromList(std::move(items), is_tuple));
  }
  Value MakeDict(Dict dict) {
    if (!Charge(4 + dict.entries.size() * 16)) return Value();
    return Bounded(Value(std::move(dict)));
  }

 private:
  // Values are compared, printed and freed by recursion, so their nesting is bounded.
  static constexpr int kMaxNesting = 60;
  Value Bounded(Value value) {
    return value.nesting() > kMaxNesting ? Fail("lists and dicts are nested too deeply") : value;
  }

  absl::Status status_;
  size_t work_;
  absl::Time now_;
};

// The arguments of a call, a filter or a test.
struct Args {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> keywords;

  // The argument at `index` or under `name`; null where it was not given.
  const Value* Get(size_t index, absl::string_view name) const {
    if (index < positional.size()) return &positional[index];
    for (const auto& [keyword, value] : keywords) {
      if (keyword == name) return &value;
    }
    return nullptr;
  }
};

}  // namespace skipserve::jinja
