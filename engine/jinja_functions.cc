#include "engine/jinja_functions.h"

#include <iterator>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace skipserve::jinja {
namespace {

constexpr int64_t kLongestRange = 100000;  // Jinja's sandbox has the same bound

Value Range(Run* run, const Args& args) {
  int64_t start = 0, stop = 0, step = 1;
  const size_t count = args.positional.size();
  bool valid = count >= 1 && count <= 3 && args.keywords.empty();
  if (valid && count == 1) valid = args.positional[0].AsInteger(&stop);
  if (valid && count >= 2) {
    valid = args.positional[0].AsInteger(&start) && args.positional[1].AsInteger(&stop);
  }
  if (valid && count == 3) valid = args.positional[2].AsInteger(&step);
  if (!valid || step == 0) return run->Fail("range() needs one to three integers");
  std::vector<Value> items;
  int64_t next = start;
  while (step > 0 ? next < stop : next > stop) {
    if (static_cast<int64_t>(items.size()) == kLongestRange)
      return run->Fail("range() is too long");
    items.push_back(Value(next));
    if (__builtin_add_overflow(next, step, &next)) break;
  }
  return run->MakeList(std::move(items));
}

// The keywords as a dict; a namespace inside would let a value hold itself.
bool Keywords(Run* run, const std::string& name, const Args& args, Dict* dict) {
  if (!args.positional.empty()) {
    run->Fail(absl::StrCat(name, "() takes only named arguments here"));
    return false;
  }
  for (const auto& [keyword, value] : args.keywords) {
    if (value.name_space() != nullptr) {
      run->Fail(absl::StrCat("a namespace cannot be stored in a ", name));
      return false;
    }
    dict->Set(Value::Trusted(keyword), value);
  }
  return true;
}

}  // namespace

bool IsFunctionName(absl::string_view name) {
  return name == "range" || name == "namespace" || name == "dict" || name == "raise_exception" ||
         name == "strftime_now";
}

Value CallFunction(Run* run, const std::string& name, const Args& args) {
  if (name == "range") return Range(run, args);
  if (name == "namespace" || name == "dict") {
    Dict dict;
    if (!Keywords(run, name, args, &dict)) return Value();
    if (name == "dict") return run->MakeDict(std::move(dict));
    auto ns = std::make_shared<Namespace>();
    ns->attributes = std::move(dict);
    return Value(std::move(ns));
  }
  const Value* text = args.Get(0, name == "strftime_now" ? "format" : "message");
  if (text == nullptr || text->text() == nullptr) {
    return run->Fail(absl::StrCat(name, "() needs a string"));
  }
  const std::string& given = text->text()->bytes();
  if (name == "raise_exception") {
    constexpr size_t kLongestMessage = 500;
    return run->Fail(given.substr(0, kLongestMessage));
  }
  if (!run->Charge(given.size() * 32)) return Value();
  return run->Make(Text(absl::FormatTime(given, run->now(), absl::LocalTimeZone()), true));
}

Value LoopVariable(Run* run, const std::vector<Value>& items, size_t i) {
  const int64_t count = static_cast<int64_t>(items.size());
  const int64_t place = static_cast<int64_t>(i);
  const bool last = i + 1 == items.size();
  Dict loop;
  const auto add = [&loop](absl::string_view name, Value value) {
    loop.entries.emplace_back(Value::Trusted(name), std::move(value));
  };
  add("index", Value(place + 1));
  add("index0", Value(place));
  add("revindex", Value(count - place));
  add("revindex0", Value(count - place - 1));
  add("first", Value(i == 0));
  add("last", Value(last));
  add("length", Value(count));
  // Only recursive loops, which are not supported, are deeper.
  add("depth", Value(int64_t{1}));
  add("depth0", Value(int64_t{0}));
  add("previtem", i > 0 ? items[i - 1] : Value::UndefinedNamed("the item before the first"));
  add("nextitem", last ? Value::UndefinedNamed("the item after the last") : items[i + 1]);
  return run->MakeDict(std::move(loop));
}

}  // namespace skipserve::jinja
