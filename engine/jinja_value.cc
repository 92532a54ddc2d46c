#include "engine/jinja_value.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "engine/utf8.h"

namespace skipserve::jinja {

const Value* Dict::Find(absl::string_view key) const {
  for (const auto& [name, value] : entries) {
    if (name.text() != nullptr && name.text()->bytes() == key) return &value;
  }
  return nullptr;
}

void Dict::Set(Value key, Value value) {
  for (auto& [name, old] : entries) {
    if (Equal(name, key)) {
      old = std::move(value);
      return;
    }
  }
  entries.emplace_back(std::move(key), std::move(value));
}

Value::Value(Dict dict) {
  for (const auto& [key, value] : dict.entries) {
    Count(key);
    Count(value);
  }
  ++nesting_;
  data_ = std::make_shared<const Dict>(std::move(dict));
}

void Value::Count(const Value& inner) {
  constexpr size_t kMost = size_t{1} << 48;
  nesting_ = std::max(nesting_, inner.nesting_);
  weight_ = std::min(kMost, weight_ + inner.weight());
}

Value Value::UndefinedNamed(std::string what) {
  Value value;
  value.data_ = Undefined{std::make_shared<const std::string>(std::move(what))};
  return value;
}

Value Value::FromList(std::vector<Value> items, bool is_tuple) {
  Value value;
  for (const Value& item : items) value.Count(item);
  ++value.nesting_;
  value.data_ = std::make_shared<const List>(List{std::move(items), is_tuple});
  return value;
}

bool Value::AsInteger(int64_t* out) const {
  if (const bool* b = std::get_if<bool>(&data_)) {
    *out = *b ? 1 : 0;
    return true;
  }
  if (const int64_t* i = std::get_if<int64_t>(&data_)) {
    *out = *i;
    return true;
  }
  return false;
}

double Value::AsDouble() const {
  int64_t i = 0;
  if (AsInteger(&i)) return static_cast<double>(i);
  const double* d = std::get_if<double>(&data_);
  return d == nullptr ? 0.0 : *d;
}

bool Value::Truth() const {
  if (is_undefined() || is_none()) return false;
  if (is_number()) return AsDouble() != 0.0;
  if (text() != nullptr) return !text()->empty();
  if (list() != nullptr) return !list()->items.empty();
  if (dict() != nullptr) return !dict()->entries.empty();
  return true;
}

std::string Value::TypeName() const {
  if (is_undefined()) return "undefined";
  if (is_none()) return "none";
  if (is_bool()) return "bool";
  if (is_integer()) return "int";
  if (is_float()) return "float";
  if (text() != nullptr) return "string";
  if (list() != nullptr) return list()->is_tuple ? "tuple" : "list";
  if (dict() != nullptr) return "dict";
  return macro() != nullptr ? "macro" : "namespace";
}

std::string Value::UndefinedMessage() const {
  const Undefined* undefined = std::get_if<Undefined>(&data_);
  if (undefined == nullptr || undefined->what == nullptr) return "an undefined value is used";
  return absl::StrCat(*undefined->what, " is undefined");
}

bool Equal(const Value& a, const Value& b) {
  int64_t i = 0, j = 0;
  if (a.AsInteger(&i) && b.AsInteger(&j)) return i == j;
  if (a.is_number() && b.is_number()) return a.AsDouble() == b.AsDouble();
  if (a.text() != nullptr && b.text() != nullptr) return a.text()->bytes() == b.text()->bytes();
  if (a.list() != nullptr && b.list() != nullptr) {
    return a.list()->is_tuple == b.list()->is_tuple &&
           std::equal(a.list()->items.begin(), a.list()->items.end(), b.list()->items.begin(),
                      b.list()->items.end(), Equal);
  }
  if (a.dict() != nullptr && b.dict() != nullptr) {
    if (a.dict()->entries.size() != b.dict()->entries.size()) return false;
    return std::all_of(a.dict()->entries.begin(), a.dict()->entries.end(), [&](const auto& entry) {
      const Value* other = b.dict()->Find(entry.first.text()->bytes());
      return other != nullptr && Equal(entry.second, *other);
    });
  }
  if (a.name_space() != nullptr) return a.name_space() == b.name_space();
  if (a.macro() != nullptr) return a.macro() == b.macro();
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

std::string FloatText(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  // Python writes an exponent below 1e-4 and from 1e16 on; to_chars' own choice is another one.
  const double size = std::fabs(value);
  const bool plain = size == 0.0 || (size >= 1e-4 && size < 1e16);
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value,
                                 plain ? std::chars_format::fixed : std::chars_format::scientific)
                       .ptr;
  std::string out(buffer, end);
  if (plain && out.find('.') == std::string::npos) out += ".0";
  return out;
}

namespace {

Text StringRepr(const Text& text) {
  const bool has_single = text.bytes().find('\'') != std::string::npos;
  const bool has_double = text.bytes().find('"') != std::string::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  Text out(std::string(1, quote), true);
  for (const TextPiece& piece : text.Pieces()) {
    std::string escaped;
    for (const char c : piece.text) {
      const uint8_t byte = static_cast<uint8_t>(c);
      if (c == quote || c == '\\') {
        escaped += '\\';
        escaped += c;
      } else if (c == '\n' || c == '\r' || c == '\t') {
        escaped += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
      } else if (byte < 0x20 || byte == 0x7F) {
        absl::StrAppend(&escaped, "\\x", absl::Hex(byte, absl::kZeroPad2));
      } else {
        escaped += c;
      }
    }
    out.Append(escaped, piece.trusted);
  }
  out.Append(std::string(1, quote), true);
  return out;
}

}  // namespace

Text Repr(const Value& value) {
  if (value.text() != nullptr) return StringRepr(*value.text());
  if (value.is_undefined()) return Text("Undefined", true);
  return ToText(value);
}

Text ToText(const Value& value) {
  if (value.text() != nullptr) return *value.text();
  Text out;
  int64_t i = 0;
  if (value.is_none()) {
    out.Append("None", true);
  } else if (value.is_bool()) {
    out.Append(value.Truth() ? "True" : "False", true);
  } else if (value.AsInteger(&i)) {
    out.Append(absl::StrCat(i), true);
  } else if (value.is_float()) {
    out.Append(FloatText(value.AsDouble()), true);
  } else if (const List* list = value.list()) {
    out.Append(list->is_tuple ? "(" : "[", true);
    for (size_t n = 0; n < list->items.size(); ++n) {
      if (n > 0) out.Append(", ", true);
      out.Append(Repr(list->items[n]));
    }
    if (list->is_tuple && list->items.size() == 1) out.Append(",", true);
    out.Append(list->is_tuple ? ")" : "]", true);
  } else if (const Dict* dict = value.dict()) {
    out.Append("{", true);
    for (size_t n = 0; n < dict->entries.size(); ++n) {
      if (n > 0) out.Append(", ", true);
      out.Append(Repr(dict->entries[n].first));
      out.Append(": ", true);
      out.Append(Repr(dict->entries[n].second));
    }
    out.Append("}", true);
  } else if (!value.is_undefined()) {
    out.Append(absl::StrCat("<", value.TypeName(), ">"), true);
  }
  return out;
}

std::vector<size_t> CharPlaces(absl::string_view text) {
  std::vector<size_t> places;
  places.reserve(text.size() + 1);
  for (size_t pos = 0; pos < text.size();) {
    places.push_back(pos);
    const Utf8Char c = ReadUtf8(text, pos);
    pos += c.valid ? c.length : 1;
  }
  places.push_back(text.size());
  return places;
}

}  // namespace skipserve::jinja
