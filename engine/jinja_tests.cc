// Jinja's tests: what stands after `is`.
#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "engine/jinja_filters.h"
#include "engine/jinja_ops.h"
#include "engine/jinja_strings.h"

namespace skipserve::jinja {
namespace {

using Test = bool (*)(Run*, const Value&);

bool Odd(Run* run, const Value& value) {
  int64_t i = 0;
  if (!value.AsInteger(&i)) run->Fail("odd and even need an integer");
  return i % 2 != 0;
}

// Python's str.isupper(): at least one letter has a case, and none has the other one.
bool HasOnlyCase(Run* run, const Value& value, Case wanted) {
  const Text text = run->Print(value);
  const Case other = wanted == Case::kUpper ? Case::kLower : Case::kUpper;
  return ChangeCase(text, wanted).bytes() == text.bytes() &&
         ChangeCase(text, other).bytes() != text.bytes();
}

struct PlainTest {
  absl::string_view name;
  Test test;
};

constexpr PlainTest kPlainTests[] = {
    {"defined", [](Run*, const Value& v) { return !v.is_undefined(); }},
    {"undefined", [](Run*, const Value& v) { return v.is_undefined(); }},
    {"none", [](Run*, const Value& v) { return v.is_none(); }},
    {"string", [](Run*, const Value& v) { return v.text() != nullptr; }},
    {"mapping", [](Run*, const Value& v) { return v.dict() != nullptr; }},
    {"sequence",
     [](Run*, const Value& v) {
       return v.text() != nullptr || v.list() != nullptr || v.dict() != nullptr || v.is_undefined();
     }},
    {"iterable",
     [](Run*, const Value& v) {
       return v.text() != nullptr || v.list() != nullptr || v.dict() != nullptr || v.is_undefined();
     }},
    {"number", [](Run*, const Value& v) { return v.is_number(); }},
    {"integer", [](Run*, const Value& v) { return v.is_integer(); }},
    {"float", [](Run*, const Value& v) { return v.is_float(); }},
    {"boolean", [](Run*, const Value& v) { return v.is_bool(); }},
    {"true", [](Run*, const Value& v) { return v.is_bool() && v.Truth(); }},
    {"false", [](Run*, const Value& v) { return v.is_bool() && !v.Truth(); }},
    {"callable", [](Run*, const Value& v) { return v.macro() != nullptr; }},
    {"odd", Odd},
    {"even", [](Run* run, const Value& v) { return !Odd(run, v); }},
    {"upper", [](Run* run, const Value& v) { return HasOnlyCase(run, v, Case::kUpper); }},
    {"lower", [](Run* run, const Value& v) { return HasOnlyCase(run, v, Case::kLower); }},
};

struct Comparison {
  absl::string_view name;
  absl::string_view op;
};

constexpr Comparison kComparisons[] = {
    {"eq", "=="}, {"equalto", "=="}, {"==", "=="},      {"ne", "!="},
    {"!=", "!="}, {"lt", "<"},       {"lessthan", "<"}, {"<", "<"},
    {"gt", ">"},  {">", ">"},        {"le", "<="},      {"<=", "<="},
    {"ge", ">="}, {">=", ">="},      {"in", "in"},      {"greaterthan", ">"},
};

}  // namespace

bool IsTest(absl::string_view name) {
  const auto named = [name](const auto& entry) { return entry.name == name; };
  return name == "divisibleby" ||
         std::any_of(std::begin(kPlainTests), std::end(kPlainTests), named) ||
         std::any_of(std::begin(kComparisons), std::end(kComparisons), named);
}

bool ApplyTest(Run* run, const std::string& name, const Value& value, const Args& args) {
  if (!run->Charge(4)) return false;
  for (const PlainTest& plain : kPlainTests) {
    if (plain.name == name) return plain.test(run, value);
  }
  const Value* other = args.Get(0, "other");
  if (other == nullptr) {
    run->Fail(absl::StrCat("the test '", name, "' needs an argument"));
    return false;
  }
  for (const Comparison& comparison : kComparisons) {
    if (comparison.name == name) return Compare(run, std::string(comparison.op), value, *other);
  }
  if (name == "divisibleby") {
    return Equal(Binary(run, "%", value, *other), Value(int64_t{0}));
  }
  run->Fail(absl::StrCat("the test '", name, "' is not supported"));
  return false;
}

}  // namespace skipserve::jinja
