#include "engine/jinja_strings.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/jinja_ops.h"
#include "engine/utf8.h"
#include "engine/utf8_unicode.h"

namespace skipserve::jinja {
namespace {

using absl::string_view;

bool SpaceAt(string_view text, size_t pos) {
  const Utf8Char c = ReadUtf8(text, pos);
  return c.valid && IsSpace(c.code_point);
}

std::vector<Value> SplitAtSpace(const Text& text, int64_t limit) {
  std::vector<Value> parts;
  const std::vector<size_t> places = CharPlaces(text.bytes());
  const size_t count = places.size() - 1;
  size_t i = 0;
  while (true) {
    while (i < count && SpaceAt(text.bytes(), places[i])) ++i;
    if (i == count) return parts;
    size_t end = i;
    if (limit >= 0 && static_cast<int64_t>(parts.size()) == limit) {
      parts.push_back(Value(Strip(text.Sub(places[i], text.size()), nullptr, Side::kRight)));
      return parts;
    }
    while (end < count && !SpaceAt(text.bytes(), places[end])) ++end;
    parts.push_back(Value(text.Sub(places[i], places[end])));
    i = end;
  }
}

std::vector<Value> SplitAt(const Text& text, const std::string& separator, int64_t limit,
                           bool from_right) {
  std::vector<size_t> cuts;
  for (size_t pos = 0; (pos = FindBytes(text.bytes(), separator, pos)) != std::string::npos;) {
    cuts.push_back(pos);
    pos += separator.size();
  }
  // From the right, overlapping separators could be found elsewhere; the parser's callers pass no
  // such ones.
  if (limit >= 0 && cuts.size() > static_cast<size_t>(limit)) {
    const size_t extra = cuts.size() - static_cast<size_t>(limit);
    const auto begin = from_right ? cuts.begin() : cuts.end() - static_cast<ptrdiff_t>(extra);
    cuts.erase(begin, begin + static_cast<ptrdiff_t>(extra));
  }
  std::vector<Value> parts;
  size_t begin = 0;
  for (const size_t cut : cuts) {
    parts.push_back(Value(text.Sub(begin, cut)));
    begin = cut + separator.size();
  }
  parts.push_back(Value(text.Sub(begin, text.size())));
  return parts;
}

std::vector<Value> SplitLines(const Text& text) {
  std::vector<Value> lines;
  const std::string& bytes = text.bytes();
  size_t begin = 0;
  for (size_t pos = 0; pos < bytes.size();) {
    const Utf8Char c = ReadUtf8(bytes, pos);
    const uint32_t p = c.valid ? c.code_point : 0;
    size_t next = pos + c.length;
    const bool ends = (p >= 0x0A && p <= 0x0D) || (p >= 0x1C && p <= 0x1E) || p == 0x85 ||
                      p == 0x2028 || p == 0x2029;
    if (ends) {
      if (p == '\r' && next < bytes.size() && bytes[next] == '\n') ++next;
      lines.push_back(Value(text.Sub(begin, pos)));
      begin = next;
    }
    pos = next;
  }
  if (begin < bytes.size()) lines.push_back(Value(text.Sub(begin, bytes.size())));
  return lines;
}

Value Split(Run* run, const Text& text, const std::string& name, const Args& args) {
  const Value* separator = args.Get(0, "sep");
  const Value* given_limit = args.Get(1, "maxsplit");
  int64_t limit = -1;
  if (given_limit != nullptr && !given_limit->AsInteger(&limit)) {
    return run->Fail("split() needs an integer as maxsplit");
  }
  // Parts are values of their own, dearer than their bytes.
  if (!run->Charge(text.size() * 16)) return Value();
  if (separator == nullptr || separator->is_none()) {
    if (name == "rsplit" && limit >= 0) return run->Fail("rsplit() needs a separator here");
    return run->MakeList(SplitAtSpace(text, limit));
  }
  if (separator->text() == nullptr || separator->text()->empty()) {
    return run->Fail("split() needs a separator that is a string and not empty");
  }
  return run->MakeList(SplitAt(text, separator->text()->bytes(), limit, name == "rsplit"));
}

// startswith and endswith take one string or a tuple of them.
Value HasEnd(Run* run, const Text& text, const std::string& name, const Value& end) {
  const auto has = [&](const std::string& affix) {
    return name == "startswith" ? absl::StartsWith(text.bytes(), affix)
                                : absl::EndsWith(text.bytes(), affix);
  };
  if (end.text() != nullptr) return Value(has(end.text()->bytes()));
  if (end.list() == nullptr || !end.list()->is_tuple) {
    return run->Fail(absl::StrCat(name, "() needs a string or a tuple of strings"));
  }
  for (const Value& item : end.list()->items) {
    if (item.text() == nullptr) return run->Fail(absl::StrCat(name, "() needs strings"));
    if (has(item.text()->bytes())) return Value(true);
  }
  return Value(false);
}

Value CallTextMethod(Run* run, const Text& text, const std::string& name, const Args& args) {
  if (!run->Charge(text.size() * 2)) return Value();
  const Value* const first = args.Get(0, name == "replace" ? "old" : "chars");
  const Text* const given = first == nullptr ? nullptr : first->text();
  if (name == "strip" || name == "lstrip" || name == "rstrip") {
    if (first != nullptr && given == nullptr && !first->is_none()) {
      return run->Fail(absl::StrCat(name, "() needs a string"));
    }
    if (given != nullptr && !run->Charge(text.size() * (given->size() / 8))) return Value();
    const Side side = name == "strip" ? Side::kBoth : name == "lstrip" ? Side::kLeft : Side::kRight;
    return run->Make(Strip(text, given, side));
  }
  if (name == "upper") return run->Make(ChangeCase(text, Case::kUpper));
  if (name == "lower") return run->Make(ChangeCase(text, Case::kLower));
  if (name == "capitalize") return run->Make(ChangeCase(text, Case::kCapitalized));
  if (name == "split" || name == "rsplit") return Split(run, text, name, args);
  if (name == "splitlines") {
    return run->Charge(text.size() * 16) ? run->MakeList(SplitLines(text)) : Value();
  }
  if (first == nullptr) return run->Fail(absl::StrCat(name, "() needs an argument"));
  if (name == "startswith" || name == "endswith") return HasEnd(run, text, name, *first);
  if (name == "join") return Join(run, text, Iterate(run, *first));
  if (given == nullptr) return run->Fail(absl::StrCat(name, "() needs a string"));
  if (name == "replace") {
    const Value* by = args.Get(1, "new");
    const Value* count = args.Get(2, "count");
    int64_t limit = -1;
    if (by == nullptr || by->text() == nullptr || (count != nullptr && !count->AsInteger(&limit))) {
      return run->Fail("replace() needs two strings");
    }
    return Replace(run, text, *given, *by->text(), limit);
  }
  if (name == "removeprefix") {
    return absl::StartsWith(text.bytes(), given->bytes())
               ? run->Make(text.Sub(given->size(), text.size()))
               : Value(text);
  }
  if (name == "removesuffix") {
    return absl::EndsWith(text.bytes(), given->bytes())
               ? run->Make(text.Sub(0, text.size() - given->size()))
               : Value(text);
  }
  if (name == "find") {
    const size_t place = FindBytes(text.bytes(), given->bytes(), 0);
    if (place == std::string::npos) return Value(int64_t{-1});
    const std::vector<size_t> before = CharPlaces(string_view(text.bytes()).substr(0, place));
    return Value(static_cast<int64_t>(before.size()) - 1);
  }
  if (name == "count") {
    if (given->empty()) return Value(Length(run, Value(text)) + 1);
    int64_t count = 0;
    for (size_t pos = 0; (pos = FindBytes(text.bytes(), given->bytes(), pos)) != std::string::npos;
         pos += given->size()) {
      ++count;
    }
    return Value(count);
  }
  return run->Fail(absl::StrCat("a string has no method '", name, "'"));
}

Value CallDictMethod(Run* run, const Dict& dict, const std::string& name, const Args& args) {
  if (!run->Charge(dict.entries.size() * 16)) return Value();
  if (name == "get") {
    const Value* key = args.Get(0, "key");
    if (key == nullptr) return run->Fail("get() needs a key");
    const Value* missing = args.Get(1, "default");
    const Value* found = key->text() == nullptr ? nullptr : dict.Find(key->text()->bytes());
    return found != nullptr ? *found : missing != nullptr ? *missing : Value(None{});
  }
  std::vector<Value> items;
  for (const auto& [key, value] : dict.entries) {
    if (name == "keys") {
      items.push_back(key);
    } else if (name == "values") {
      items.push_back(value);
    } else if (name == "items") {
      items.push_back(run->MakeList({key, value}, /*is_tuple=*/true));
    } else {
      return run->Fail(absl::StrCat("a dict has no method '", name, "'"));
    }
  }
  return run->MakeList(std::move(items));
}

constexpr string_view kMethods[] = {
    "strip",        "lstrip",     "rstrip",     "upper",    "lower", "capitalize", "split",
    "rsplit",       "splitlines", "startswith", "endswith", "join",  "replace",    "removeprefix",
    "removesuffix", "find",       "count",      "get",      "keys",  "values",     "items"};

}  // namespace

Text Strip(const Text& text, const Text* chars, Side side) {
  const std::vector<size_t> places = CharPlaces(text.bytes());
  const auto drop = [&](size_t i) {
    if (chars == nullptr) return SpaceAt(text.bytes(), places[i]);
    const string_view c = string_view(text.bytes()).substr(places[i], places[i + 1] - places[i]);
    return chars->bytes().find(c.data(), 0, c.size()) != std::string::npos;
  };
  size_t begin = 0;
  size_t end = places.size() - 1;
  while (side != Side::kRight && begin < end && drop(begin)) ++begin;
  while (side != Side::kLeft && begin < end && drop(end - 1)) --end;
  return text.Sub(places[begin], places[end]);
}

Text ChangeCase(const Text& text, Case to) {
  Text out;
  size_t head = 0;
  if (to == Case::kCapitalized && !text.empty()) {
    const Utf8Char first = ReadUtf8(text.bytes(), 0);
    head = first.valid ? first.length : 1;
  }
  const auto append = [&](const Text& part, bool upper) {
    for (const TextPiece& piece : part.Pieces()) {
      out.Append(upper ? ToUpper(piece.text) : ToLower(piece.text), piece.trusted);
    }
  };
  append(text.Sub(0, head), true);
  append(text.Sub(head, text.size()), to == Case::kUpper);
  return out;
}

Value Replace(Run* run, const Text& text, const Text& old, const Text& by, int64_t count) {
  Text out;
  size_t begin = 0;
  if (old.empty()) {
    const std::vector<size_t> places = CharPlaces(text.bytes());
    for (size_t i = 0; i < places.size() && count != 0; ++i, --count) {
      if (!run->Charge(by.size() + 1)) return Value();
      out.Append(text, begin, places[i]);
      out.Append(by);
      begin = places[i];
    }
  }
  for (size_t pos = 0; !old.empty() && count != 0; --count) {
    pos = FindBytes(text.bytes(), old.bytes(), begin);
    if (pos == std::string::npos || !run->Charge(by.size() + 1)) break;
    out.Append(text, begin, pos);
    out.Append(by);
    begin = pos + old.size();
  }
  out.Append(text, begin, text.size());
  return run->Make(std::move(out));
}

Value Join(Run* run, const Text& separator, const std::vector<Value>& items) {
  Text out;
  for (size_t i = 0; i < items.size(); ++i) {
    if (!run->Charge(separator.size() + 1)) return Value();
    if (i > 0) out.Append(separator);
    out.Append(run->Print(items[i]));
  }
  return Value(std::move(out));
}

bool IsMethod(string_view name) {
  return std::find(std::begin(kMethods), std::end(kMethods), name) != std::end(kMethods);
}

Value CallMethod(Run* run, const Value& value, const std::string& name, const Args& args) {
  if (value.text() != nullptr) return CallTextMethod(run, *value.text(), name, args);
  if (value.dict() != nullptr) return CallDictMethod(run, *value.dict(), name, args);
  if (value.is_undefined()) return run->Fail(value.UndefinedMessage());
  return run->Fail(absl::StrCat("a ", value.TypeName(), " has no method '", name, "'"));
}

}  // namespace skipserve::jinja
