#include "engine/jinja_filters.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/jinja_ops.h"
#include "engine/jinja_strings.h"

namespace skipserve::jinja {
namespace {

using Filter = Value (*)(Run*, const Value&, const Args&);

// What a filter on strings works on; anything else is printed first, as Jinja does.
Text AsText(Run* run, const Value& value) { return run->Print(value); }

Value Trim(Run* run, const Value& value, const Args& args) {
  const Value* chars = args.Get(0, "chars");
  const Text* given = chars == nullptr ? nullptr : chars->text();
  const Text text = AsText(run, value);
  if (!run->Charge(text.size() * (1 + (given == nullptr ? 0 : given->size() / 8)))) return Value();
  return run->Make(Strip(text, given, Side::kBoth));
}

template <Case to>
Value WithCase(Run* run, const Value& value, const Args&) {
  return run->Make(ChangeCase(AsText(run, value), to));
}

Value String(Run* run, const Value& value, const Args&) { return run->Make(AsText(run, value)); }

Value LengthOf(Run* run, const Value& value, const Args&) { return Value(Length(run, value)); }

Value Json(Run* run, const Value& value, const Args& args) {
  for (const auto& [name, unused] : args.keywords) {
    if (name != "indent") return run->Fail(absl::StrCat("tojson does not know '", name, "'"));
  }
  int64_t indent = -1;
  const Value* given = args.Get(args.positional.size(), "indent");
  const bool known = given == nullptr || given->is_none() ||
                     (given->AsInteger(&indent) && indent >= 0 && indent <= 16);
  if (!known || !args.positional.empty()) {
    return run->Fail("tojson takes only an indent from 0 to 16");
  }
  return Value(ToJson(run, value, indent));
}

Value JoinItems(Run* run, const Value& value, const Args& args) {
  const Value* separator = args.Get(0, "d");
  if (args.Get(1, "attribute") != nullptr) return run->Fail("join does not know 'attribute'");
  return Join(run, separator == nullptr ? Text() : AsText(run, *separator), Iterate(run, value));
}

Value Default(Run* run, const Value& value, const Args& args) {
  const Value* by = args.Get(0, "default_value");
  const Value* any_false = args.Get(1, "boolean");
  const bool missing =
      value.is_undefined() || (any_false != nullptr && any_false->Truth() && !value.Truth());
  if (!missing) return value;
  return by == nullptr ? run->Make(Text()) : *by;
}

Value First(Run* run, const Value& value, const Args&) {
  if (value.text() != nullptr) return Item(run, value, Value(int64_t{0}));
  const std::vector<Value> items = Iterate(run, value);
  return items.empty() ? Value::UndefinedNamed("the first of nothing") : items.front();
}

Value Last(Run* run, const Value& value, const Args&) {
  if (value.text() != nullptr) return Item(run, value, Value(int64_t{-1}));
  const std::vector<Value> items = Iterate(run, value);
  return items.empty() ? Value::UndefinedNamed("the last of nothing") : items.back();
}

Value ToList(Run* run, const Value& value, const Args&) {
  return run->MakeList(Iterate(run, value));
}

Value Reverse(Run* run, const Value& value, const Args&) {
  const Value none = Value(None{});
  if (value.text() != nullptr) return Slice(run, value, none, none, Value(int64_t{-1}));
  std::vector<Value> items = Iterate(run, value);
  std::reverse(items.begin(), items.end());
  return run->MakeList(std::move(items));
}

Value Int(Run* run, const Value& value, const Args& args) {
  const Value* given = args.Get(0, "default");
  const Value missing = given == nullptr ? Value(int64_t{0}) : *given;
  int64_t integer = 0;
  if (value.AsInteger(&integer)) return Value(integer);
  double number = value.AsDouble();
  if (value.text() != nullptr) {
    const std::string& text = value.text()->bytes();
    if (!run->Charge(text.size())) return Value();
    if (absl::SimpleAtoi(text, &integer)) return Value(integer);
    if (!absl::SimpleAtod(text, &number)) return missing;
  } else if (!value.is_float()) {
    return missing;
  }
  return std::fabs(number) < 9e18 ? Value(static_cast<int64_t>(number)) : missing;
}

Value Float(Run* run, const Value& value, const Args& args) {
  const Value* given = args.Get(0, "default");
  double number = value.AsDouble();
  const bool known =
      value.is_number() || (value.text() != nullptr && run->Charge(value.text()->size()) &&
                            absl::SimpleAtod(value.text()->bytes(), &number));
  if (known) return Value(number);
  return given == nullptr ? Value(0.0) : *given;
}

Value Abs(Run* run, const Value& value, const Args&) {
  if (!value.is_number()) return run->Fail("abs needs a number");
  return value.AsDouble() < 0 ? Negate(run, value) : value;
}

Value Items(Run* run, const Value& value, const Args&) {
  if (value.is_undefined()) return run->MakeList({});
  if (value.dict() == nullptr) return run->Fail("items needs a dict");
  return CallMethod(run, value, "items", Args{});
}

Value ReplaceText(Run* run, const Value& value, const Args& args) {
  const Value* old = args.Get(0, "old");
  const Value* by = args.Get(1, "new");
  const Value* count = args.Get(2, "count");
  int64_t limit = -1;
  if (old == nullptr || by == nullptr ||
      (count != nullptr && !count->is_none() && !count->AsInteger(&limit))) {
    return run->Fail("replace needs two strings");
  }
  return Replace(run, AsText(run, value), AsText(run, *old), AsText(run, *by), limit);
}

Value Same(Run*, const Value& value, const Args&) { return value; }

// An attribute as selectattr and map name it: "a.b" is b of a.
Value Path(Run* run, const Value& value, const std::string& path) {
  Value found = value;
  for (const absl::string_view part : absl::StrSplit(path, '.')) {
    int64_t index = 0;
    found = absl::SimpleAtoi(part, &index) ? Item(run, found, Value(index))
                                           : Attribute(run, found, part);
  }
  return found;
}

Args After(const Args& args, size_t count) {
  Args rest;
  if (args.positional.size() > count) {
    rest.positional.assign(args.positional.begin() + static_cast<ptrdiff_t>(count),
                           args.positional.end());
  }
  return rest;
}

// select, reject, selectattr, rejectattr: [attribute,] [test, arguments of the test].
template <bool keep, bool by_attribute>
Value Choose(Run* run, const Value& value, const Args& args) {
  const size_t skip = by_attribute ? 1 : 0;
  const Value* attribute = by_attribute ? args.Get(0, "") : nullptr;
  if (by_attribute && (attribute == nullptr || attribute->text() == nullptr)) {
    return run->Fail("selectattr and rejectattr need an attribute's name");
  }
  const Value* test = args.Get(skip, "");
  if (test != nullptr && (test->text() == nullptr || !IsTest(test->text()->bytes()))) {
    return run->Fail(absl::StrCat("the test '", ToText(*test).bytes(), "' is not supported"));
  }
  std::vector<Value> chosen;
  for (const Value& item : Iterate(run, value)) {
    const Value subject = by_attribute ? Path(run, item, attribute->text()->bytes()) : item;
    const bool passes = test == nullptr
                            ? subject.Truth()
                            : ApplyTest(run, test->text()->bytes(), subject, After(args, skip + 1));
    if (!run->ok()) return Value();
    if (passes == keep) chosen.push_back(item);
  }
  return run->MakeList(std::move(chosen));
}

Value Map(Run* run, const Value& value, const Args& args) {
  const Value* attribute = args.Get(args.positional.size(), "attribute");
  const Value* missing = args.Get(args.positional.size(), "default");
  const Value* filter = attribute == nullptr ? args.Get(0, "") : attribute;
  if (filter == nullptr || filter->text() == nullptr)
    return run->Fail("map needs a filter or attribute=");
  const std::string name = filter->text()->bytes();
  if (attribute == nullptr && !IsFilter(name)) {
    return run->Fail(absl::StrCat("the filter '", name, "' is not supported"));
  }
  std::vector<Value> mapped;
  for (const Value& item : Iterate(run, value)) {
    Value result =
        attribute != nullptr ? Path(run, item, name) : ApplyFilter(run, name, item, After(args, 1));
    if (!run->ok()) return Value();
    if (attribute != nullptr && result.is_undefined() && missing != nullptr) result = *missing;
    mapped.push_back(std::move(result));
  }
  return run->MakeList(std::move(mapped));
}

struct NamedFilter {
  absl::string_view name;
  Filter filter;
};

constexpr NamedFilter kFilters[] = {
    {"trim", Trim},
    {"length", LengthOf},
    {"count", LengthOf},
    {"tojson", Json},
    {"upper", WithCase<Case::kUpper>},
    {"lower", WithCase<Case::kLower>},
    {"capitalize", WithCase<Case::kCapitalized>},
    {"join", JoinItems},
    {"default", Default},
    {"d", Default},
    {"first", First},
    {"last", Last},
    {"list", ToList},
    {"string", String},
    {"int", Int},
    {"float", Float},
    {"abs", Abs},
    {"items", Items},
    {"replace", ReplaceText},
    {"reverse", Reverse},
    {"safe", Same},
    {"map", Map},
    {"select", Choose<true, false>},
    {"reject", Choose<false, false>},
    {"selectattr", Choose<true, true>},
    {"rejectattr", Choose<false, true>},
};

}  // namespace

bool IsFilter(absl::string_view name) {
  return std::any_of(std::begin(kFilters), std::end(kFilters),
                     [name](const NamedFilter& filter) { return filter.name == name; });
}

Value ApplyFilter(Run* run, const std::string& name, const Value& value, const Args& args) {
  for (const NamedFilter& filter : kFilters) {
    if (filter.name == name) return run->Charge(4) ? filter.filter(run, value, args) : Value();
  }
  return run->Fail(absl::StrCat("the filter '", name, "' is not supported"));
}

}  // namespace skipserve::jinja
