// The tojson filter as transformers sets it up: no HTML escapes, no ASCII-only output.
#include "absl/strings/str_cat.h"
#include "engine/jinja_filters.h"

namespace skipserve::jinja {
namespace {

void AppendString(const Text& text, Text* out) {
  out->Append("\"", true);
  for (const TextPiece& piece : text.Pieces()) {
    std::string escaped;
    for (const char c : piece.text) {
      const size_t known = absl::string_view("\"\\\b\f\n\r\t").find(c);
      if (known != absl::string_view::npos) {
        escaped += '\\';
        escaped += "\"\\bfnrt"[known];
      } else if (static_cast<uint8_t>(c) < 0x20) {
        absl::StrAppend(&escaped, "\\u", absl::Hex(static_cast<uint8_t>(c), absl::kZeroPad4));
      } else {
        escaped += c;
      }
    }
    out->Append(escaped, piece.trusted);
  }
  out->Append("\"", true);
}

class Writer {
 public:
  Writer(Run* run, int64_t indent) : run_(run), indent_(indent) {}

  void Write(const Value& value, int64_t level) {
    if (!run_->Charge(8)) return;
    if (value.text() != nullptr) {
      if (run_->Charge(value.text()->size() * 2)) AppendString(*value.text(), &out_);
    } else if (value.is_none()) {
      out_.Append("null", true);
    } else if (value.is_bool()) {
      out_.Append(value.Truth() ? "true" : "false", true);
    } else if (value.is_number()) {
      out_.Append(ToText(value));
    } else if (const List* list = value.list()) {
      Sequence("[", "]", list->items.size(), level,
               [&](size_t i) { Write(list->items[i], level + 1); });
    } else if (const Dict* dict = value.dict()) {
      Sequence("{", "}", dict->entries.size(), level, [&](size_t i) {
        AppendString(*dict->entries[i].first.text(), &out_);
        out_.Append(": ", true);
        Write(dict->entries[i].second, level + 1);
      });
    } else {
      run_->Fail(absl::StrCat("tojson cannot write a value that is ", value.TypeName()));
    }
  }

  Text Take() { return std::move(out_); }

 private:
  template <typename Element>
  void Sequence(absl::string_view open, absl::string_view close, size_t count, int64_t level,
                Element element) {
    out_.Append(open, true);
    for (size_t i = 0; i < count && run_->ok(); ++i) {
      if (i > 0) out_.Append(indent_ < 0 ? ", " : ",", true);
      NewLine(level + 1);
      element(i);
    }
    if (count > 0) NewLine(level);
    out_.Append(close, true);
  }

  void NewLine(int64_t level) {
    if (indent_ < 0 || !run_->Charge(static_cast<size_t>(level * indent_))) return;
    out_.Append("\n", true);
    out_.Append(std::string(static_cast<size_t>(level * indent_), ' '), true);
  }

  Run* run_;
  int64_t indent_;
  Text out_;
};

}  // namespace

Text ToJson(Run* run, const Value& value, int64_t indent) {
  Writer writer(run, indent);
  writer.Write(value, 0);
  return writer.Take();
}

}  // namespace skipserve::jinja
