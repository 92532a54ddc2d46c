// The values a template computes with, as Python's Jinja has them. Values are immutable and cheap
// to copy; the one exception is a namespace, which templates write to. Not thread-safe where a
// namespace is shared.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/string_view.h"
#include "engine/jinja_text.h"

namespace skipserve::jinja {

struct Statement;
class Value;

struct List {
  std::vector<Value> items;
  bool is_tuple = false;
};

// In order of insertion, as Python's. Keys are strings. Small, so a search walks it.
struct Dict {
  std::vector<std::pair<Value, Value>> entries;

  const Value* Find(absl::string_view key) const;
  void Set(Value key, Value value);
};

struct Namespace {
  Dict attributes;
};

struct Undefined {
  std::shared_ptr<const std::string> what;  // for the message where it is used
};
struct None {};
struct Macro {
  const Statement* definition;
};

class Value {
 public:
  using TextPtr = std::shared_ptr<const Text>;
  using ListPtr = std::shared_ptr<const List>;
  using DictPtr = std::shared_ptr<const Dict>;
  using NamespacePtr = std::shared_ptr<Namespace>;

  Value() : data_(Undefined{}) {}
  Value(None none) : data_(none) {}
  Value(bool b) : data_(b) {}
  Value(int64_t i) : data_(i) {}
  Value(double d) : data_(d) {}
  Value(Text text) : data_(std::make_shared<const Text>(std::move(text))) {}
  Value(Dict dict);
  Value(NamespacePtr ns) : data_(std::move(ns)) {}
  Value(Macro macro) : data_(macro) {}

  static Value UndefinedNamed(std::string what);
  static Value Trusted(absl::string_view text) { return Value(Text(text, true)); }
  static Value FromList(std::vector<Value> items, bool is_tuple = false);

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  bool is_bool() const { return std::holds_alternative<bool>(data_); }
  bool is_integer() const { return std::holds_alternative<int64_t>(data_); }
  bool is_float() const { return std::holds_alternative<double>(data_); }
  bool is_number() const { return is_bool() || is_integer() || is_float(); }

  // Null where the value is of another kind.
  const Text* text() const { return Pointee<TextPtr>(); }
  const List* list() const { return Pointee<ListPtr>(); }
  const Dict* dict() const { return Pointee<DictPtr>(); }
  Namespace* name_space() const { return Pointee<NamespacePtr>(); }
  NamespacePtr shared_name_space() const {
    const NamespacePtr* ns = std::get_if<NamespacePtr>(&data_);
    return ns == nullptr ? nullptr : *ns;
  }
  const Statement* macro() const {
    const Macro* macro = std::get_if<Macro>(&data_);
    return macro == nullptr ? nullptr : macro->definition;
  }

  // False where the value is no integer; True and False count as 1 and 0.
  bool AsInteger(int64_t* out) const;
  // Of a number.
  double AsDouble() const;

  bool Truth() const;
  // How deeply lists and dicts are nested in this one; 0 for anything else.
  int nesting() const { return nesting_; }
  // About the bytes it prints as, with everything inside counted as often as it stands there;
  // saturates.
  size_t weight() const { return weight_ + (text() == nullptr ? 0 : text()->size()); }
  // Python's name of the type, and for an undefined value what it would have been.
  std::string TypeName() const;
  std::string UndefinedMessage() const;

 private:
  template <typename Ptr>
  typename Ptr::element_type* Pointee() const {
    const Ptr* ptr = std::get_if<Ptr>(&data_);
    return ptr == nullptr ? nullptr : ptr->get();
  }

  std::variant<Undefined, None, bool, int64_t, double, TextPtr, ListPtr, DictPtr, NamespacePtr,
               Macro>
      data_;
  void Count(const Value& inner);

  int nesting_ = 0;
  size_t weight_ = 8;
};

// Python's ==.
bool Equal(const Value& a, const Value& b);
// Python's str(): what {{ value }} prints.
Text ToText(const Value& value);
// Python's repr(), as lists print their elements.
Text Repr(const Value& value);
// Python's repr() of a float.
std::string FloatText(double value);

// The characters of a text as places where each begins, with the text's size last. A broken byte is
// a character.
std::vector<size_t> CharPlaces(absl::string_view text);

}  // namespace skipserve::jinja
