#include "engine/jinja_ops.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace skipserve::jinja {
namespace {

Value TypeError(Run* run, absl::string_view what, const Value& a, const Value& b) {
  for (const Value* value : {&a, &b}) {
    if (value->is_undefined()) return run->Fail(value->UndefinedMessage());
  }
  return run->Fail(
      absl::StrCat("'", what, "' does not work on ", a.TypeName(), " and ", b.TypeName()));
}

Value Integers(Run* run, const std::string& op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  if (op == "+") {
    overflow = __builtin_add_overflow(a, b, &result);
  } else if (op == "-") {
    overflow = __builtin_sub_overflow(a, b, &result);
  } else if (op == "*") {
    overflow = __builtin_mul_overflow(a, b, &result);
  } else {
    if (b == 0) return run->Fail("division by zero");
    if (op == "/") return Value(static_cast<double>(a) / static_cast<double>(b));
    if (b == -1) {  // the one divisor that overflows
      overflow = op == "//" && __builtin_sub_overflow(int64_t{0}, a, &result);
    } else {
      const int64_t rest = a % b;
      const bool round_down = rest != 0 && (rest < 0) != (b < 0);
      result = op == "//" ? a / b - (round_down ? 1 : 0) : rest + (round_down ? b : 0);
    }
  }
  return overflow ? run->Fail("an integer is too large") : Value(result);
}

Value Floats(Run* run, const std::string& op, double a, double b) {
  if (op == "+") return Value(a + b);
  if (op == "-") return Value(a - b);
  if (op == "*") return Value(a * b);
  if (b == 0.0) return run->Fail("division by zero");
  if (op == "/") return Value(a / b);
  double rest = std::fmod(a, b);
  if (rest != 0.0 && (rest < 0.0) != (b < 0.0)) rest += b;
  return op == "%" ? Value(rest) : Value(std::round((a - rest) / b));
}

Value Repeat(Run* run, const Value& value, int64_t times) {
  const size_t count = times < 0 ? 0 : static_cast<size_t>(times);
  const size_t size = value.text() != nullptr ? value.text()->size() : value.list()->items.size();
  // Division, so that the product cannot overflow.
  if (size > 0 && count > (size_t{1} << 40) / size) return run->Fail("a repetition is too long");
  if (!run->Charge(size * count)) return Value();
  if (value.text() != nullptr) {
    Text out;
    for (size_t i = 0; size > 0 && i < count; ++i) out.Append(*value.text());
    return run->Make(std::move(out));
  }
  std::vector<Value> items;
  for (size_t i = 0; size > 0 && i < count; ++i) {
    items.insert(items.end(), value.list()->items.begin(), value.list()->items.end());
  }
  return run->MakeList(std::move(items), value.list()->is_tuple);
}

// Python's rules for the bounds of a slice of something `size` long.
struct Bounds {
  int64_t start, stop, step;
};

bool SliceBounds(Run* run, int64_t size, const Value& start, const Value& stop, const Value& step,
                 Bounds* bounds) {
  const auto read = [&](const Value& value, int64_t missing, int64_t* out) {
    *out = missing;
    if (value.is_none() || value.AsInteger(out)) return true;
    run->Fail(absl::StrCat("a slice needs integers, not ", value.TypeName()));
    return false;
  };
  if (!read(step, 1, &bounds->step)) return false;
  if (bounds->step == 0) {
    run->Fail("a slice's step is zero");
    return false;
  }
  const bool forward = bounds->step > 0;
  const int64_t low = forward ? 0 : -1;
  const int64_t high = forward ? size : size - 1;
  const auto clamp = [&](int64_t place) {
    if (place < 0) place = place < -size ? low : place + size;
    return std::clamp(place, low, std::max(low, high));
  };
  if (!read(start, 0, &bounds->start) || !read(stop, 0, &bounds->stop)) return false;
  bounds->start = start.is_none() ? (forward ? low : high) : clamp(bounds->start);
  bounds->stop = stop.is_none() ? (forward ? high : low) : clamp(bounds->stop);
  // A larger step selects the same single element, and the loop's sum cannot overflow.
  bounds->step = std::clamp(bounds->step, -size - 1, size + 1);
  return true;
}

int Order(Run* run, const std::string& op, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    int64_t i = 0, j = 0;
    if (a.AsInteger(&i) && b.AsInteger(&j)) return i < j ? -1 : i > j;
    return a.AsDouble() < b.AsDouble() ? -1 : a.AsDouble() > b.AsDouble();
  }
  if (a.text() != nullptr && b.text() != nullptr) {
    run->Charge(std::min(a.text()->size(), b.text()->size()));
    return a.text()->bytes().compare(b.text()->bytes());
  }
  TypeError(run, op, a, b);
  return 0;
}

}  // namespace

Value Binary(Run* run, const std::string& op, const Value& a, const Value& b) {
  int64_t i = 0, j = 0;
  if (a.AsInteger(&i) && b.AsInteger(&j)) return Integers(run, op, i, j);
  if (a.is_number() && b.is_number()) return Floats(run, op, a.AsDouble(), b.AsDouble());
  if (op == "+" && a.text() != nullptr && b.text() != nullptr) {
    if (!run->Charge(a.text()->size() + b.text()->size())) return Value();
    Text joined = *a.text();
    joined.Append(*b.text());
    return Value(std::move(joined));
  }
  const List* const left = a.list();
  const List* const right = b.list();
  if (op == "+" && left != nullptr && right != nullptr && left->is_tuple == right->is_tuple) {
    if (!run->Charge(left->items.size() + right->items.size())) return Value();
    std::vector<Value> items = left->items;
    items.insert(items.end(), right->items.begin(), right->items.end());
    return run->MakeList(std::move(items), left->is_tuple);
  }
  const bool a_repeats = a.text() != nullptr || left != nullptr;
  const bool b_repeats = b.text() != nullptr || right != nullptr;
  if (op == "*" && a_repeats && b.AsInteger(&j)) return Repeat(run, a, j);
  if (op == "*" && b_repeats && a.AsInteger(&i)) return Repeat(run, b, i);
  return TypeError(run, op, a, b);
}

Value Negate(Run* run, const Value& value) {
  int64_t i = 0;
  if (value.AsInteger(&i)) return Integers(run, "-", 0, i);
  if (value.is_float()) return Value(-value.AsDouble());
  if (value.is_undefined()) return run->Fail(value.UndefinedMessage());
  return run->Fail(absl::StrCat("'-' does not work on ", value.TypeName()));
}

bool Compare(Run* run, const std::string& op, const Value& a, const Value& b) {
  if (op == "in") return Contains(run, b, a);
  if (op == "not in") return !Contains(run, b, a);
  if (op == "==" || op == "!=") {
    const bool same_size =
        a.text() == nullptr || b.text() == nullptr || a.text()->size() == b.text()->size();
    if (same_size) run->Charge(std::min(a.weight(), b.weight()));
    return run->ok() && Equal(a, b) == (op == "==");
  }
  const int order = Order(run, op, a, b);
  if (!run->ok()) return false;
  if (op == "<") return order < 0;
  if (op == "<=") return order <= 0;
  return op == ">" ? order > 0 : order >= 0;
}

bool Contains(Run* run, const Value& haystack, const Value& needle) {
  if (haystack.text() != nullptr) {
    if (needle.text() == nullptr) {
      TypeError(run, "in", needle, haystack);
      return false;
    }
    return run->Charge(haystack.text()->size()) &&
           FindBytes(haystack.text()->bytes(), needle.text()->bytes(), 0) != std::string::npos;
  }
  if (haystack.dict() != nullptr) {
    if (!run->Charge(haystack.dict()->entries.size())) return false;
    return needle.text() != nullptr && haystack.dict()->Find(needle.text()->bytes()) != nullptr;
  }
  if (haystack.list() != nullptr) {
    for (const Value& item : haystack.list()->items) {
      if (!run->Charge(1)) return false;
      if (Compare(run, "==", item, needle)) return true;
    }
    return false;
  }
  if (!haystack.is_undefined()) TypeError(run, "in", needle, haystack);
  return false;
}

Value Attribute(Run* run, const Value& value, absl::string_view name) {
  if (value.is_undefined()) return run->Fail(value.UndefinedMessage());
  const Dict* dict = value.dict();
  if (value.name_space() != nullptr) dict = &value.name_space()->attributes;
  if (dict != nullptr) {
    if (!run->Charge(dict->entries.size())) return Value();
    if (const Value* found = dict->Find(name)) return *found;
  }
  return Value::UndefinedNamed(absl::StrCat("'", name, "' of a ", value.TypeName()));
}

Value Item(Run* run, const Value& value, const Value& index) {
  if (value.is_undefined()) return run->Fail(value.UndefinedMessage());
  int64_t i = 0;
  if (index.AsInteger(&i)) {
    if (value.list() != nullptr) {
      const int64_t size = static_cast<int64_t>(value.list()->items.size());
      if (i < 0) i += size;
      if (i >= 0 && i < size) return value.list()->items[i];
    } else if (value.text() != nullptr) {
      if (!run->Charge(value.text()->size())) return Value();
      const std::vector<size_t> places = CharPlaces(value.text()->bytes());
      const int64_t size = static_cast<int64_t>(places.size()) - 1;
      if (i < 0) i += size;
      if (i >= 0 && i < size) return run->Make(value.text()->Sub(places[i], places[i + 1]));
    }
    return Value::UndefinedNamed(absl::StrCat("element ", i, " of a ", value.TypeName()));
  }
  if (index.text() != nullptr) return Attribute(run, value, index.text()->bytes());
  return Value::UndefinedNamed(absl::StrCat("an element of a ", value.TypeName()));
}

Value Slice(Run* run, const Value& value, const Value& start, const Value& stop,
            const Value& step) {
  Bounds bounds;
  const auto each = [&bounds](auto visit) {
    for (int64_t i = bounds.start; bounds.step > 0 ? i < bounds.stop : i > bounds.stop;
         i += bounds.step) {
      visit(i);
    }
  };
  if (const List* list = value.list()) {
    const int64_t size = static_cast<int64_t>(list->items.size());
    if (!SliceBounds(run, size, start, stop, step, &bounds)) return Value();
    std::vector<Value> items;
    each([&](int64_t i) { items.push_back(list->items[i]); });
    return run->MakeList(std::move(items), list->is_tuple);
  }
  if (const Text* text = value.text()) {
    if (!run->Charge(text->size())) return Value();
    const std::vector<size_t> places = CharPlaces(text->bytes());
    const int64_t size = static_cast<int64_t>(places.size()) - 1;
    if (!SliceBounds(run, size, start, stop, step, &bounds)) return Value();
    Text out;
    if (bounds.step == 1) {
      if (bounds.start < bounds.stop) out = text->Sub(places[bounds.start], places[bounds.stop]);
    } else {
      each([&](int64_t i) { out.Append(*text, places[i], places[i + 1]); });
    }
    return run->Make(std::move(out));
  }
  if (value.is_undefined()) return run->Fail(value.UndefinedMessage());
  return run->Fail(absl::StrCat("a ", value.TypeName(), " cannot be sliced"));
}

std::vector<Value> Iterate(Run* run, const Value& value) {
  std::vector<Value> items;
  if (value.list() != nullptr) {
    if (run->Charge(value.list()->items.size() * 8)) items = value.list()->items;
  } else if (value.dict() != nullptr) {
    if (!run->Charge(value.dict()->entries.size() * 8)) return items;
    for (const auto& entry : value.dict()->entries) items.push_back(entry.first);
  } else if (value.text() != nullptr) {
    if (!run->Charge(value.text()->size() * 16)) return items;
    const std::vector<size_t> places = CharPlaces(value.text()->bytes());
    for (size_t i = 0; i + 1 < places.size(); ++i) {
      items.push_back(Value(value.text()->Sub(places[i], places[i + 1])));
    }
  } else if (!value.is_undefined()) {
    run->Fail(absl::StrCat("a ", value.TypeName(), " cannot be iterated over"));
  }
  return items;
}

int64_t Length(Run* run, const Value& value) {
  if (value.list() != nullptr) return static_cast<int64_t>(value.list()->items.size());
  if (value.dict() != nullptr) return static_cast<int64_t>(value.dict()->entries.size());
  if (value.text() != nullptr) {
    if (!run->Charge(value.text()->size())) return 0;
    return static_cast<int64_t>(CharPlaces(value.text()->bytes()).size()) - 1;
  }
  if (!value.is_undefined()) run->Fail(absl::StrCat("a ", value.TypeName(), " has no length"));
  return 0;
}

}  // namespace skipserve::jinja
