#include "engine/jinja_lexer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/utf8.h"
#include "engine/utf8_unicode.h"

namespace skipserve::jinja {
namespace {

std::string NormalizeNewlines(const std::string& source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
      continue;
    }
    out += '\n';
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

// A string literal's body with Python's escapes resolved; an unknown escape stays as it is. False
// where one is broken.
bool Unescape(absl::string_view body, std::string* out) {
  constexpr absl::string_view kLetters = "abfnrtv";
  constexpr absl::string_view kMeanings = "\a\b\f\n\r\t\v";
  for (size_t i = 0; i < body.size(); ++i) {
    if (body[i] != '\\' || i + 1 == body.size()) {
      *out += body[i];
      continue;
    }
    const char c = body[++i];
    const size_t letter = kLetters.find(c);
    if (c == '\n') continue;
    if (c == '\\' || c == '\'' || c == '"') {
      *out += c;
    } else if (letter != absl::string_view::npos) {
      *out += kMeanings[letter];
    } else if (c >= '0' && c <= '7') {
      uint32_t code = 0;
      size_t n = 0;
      for (; n < 3 && i + n < body.size() && body[i + n] >= '0' && body[i + n] <= '7'; ++n) {
        code = code * 8 + static_cast<uint32_t>(body[i + n] - '0');
      }
      i += n - 1;
      AppendUtf8(code, out);
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      uint32_t code = 0;
      const absl::string_view hex = body.substr(i + 1, digits);
      const bool valid =
          hex.size() == digits && std::all_of(hex.begin(), hex.end(), absl::ascii_isxdigit) &&
          absl::SimpleHexAtoi(hex, &code) && code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF);
      if (!valid) return false;
      AppendUtf8(code, out);
      i += digits;
    } else if (c == 'N') {
      return false;
    } else {
      *out += '\\';
      *out += c;
    }
  }
  return true;
}

bool IsNameChar(char c, bool first) {
  return c == '_' || absl::ascii_isalpha(c) || (!first && absl::ascii_isdigit(c));
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  absl::StatusOr<std::vector<Token>> Run() {
    while (pos_ < source_.size() && status_.ok()) Data();
    if (!status_.ok()) return status_;
    Push(Token::Kind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  void Fail(const std::string& message) {
    if (status_.ok()) status_ = TemplateError(line_, message);
  }
  void Push(Token::Kind kind, std::string text) {
    tokens_.push_back({kind, std::move(text), line_});
  }
  bool At(absl::string_view text) const {
    return absl::StartsWith(absl::string_view(source_).substr(pos_), text);
  }
  void Advance(size_t n) {
    line_ += static_cast<int>(std::count(source_.begin() + pos_, source_.begin() + pos_ + n, '\n'));
    pos_ += n;
  }
  void SkipSpace() {
    while (pos_ < source_.size()) {
      const Utf8Char c = ReadUtf8(source_, pos_);
      if (!c.valid || !IsSpace(c.code_point)) break;
      Advance(c.length);
    }
  }

  // Plain text up to the next tag, then the tag.
  void Data() {
    size_t open = source_.find('{', pos_);
    while (open != std::string::npos &&
           (open + 1 == source_.size() ||
            absl::string_view("{%#").find(source_[open + 1]) == absl::string_view::npos)) {
      open = source_.find('{', open + 1);
    }
    const size_t data_end = std::min(open, source_.size());
    std::string data = source_.substr(pos_, data_end - pos_);
    const bool tag = open != std::string::npos;
    const char sign = tag && open + 2 < source_.size() ? source_[open + 2] : ' ';
    const char kind = tag ? source_[open + 1] : ' ';
    if (tag && sign == '-') {
      StripEnd(&data);
    } else if (tag && sign != '+' && kind != '{') {
      StripLineStart(&data);
    }
    if (!data.empty()) Push(Token::Kind::kData, data);
    Advance(data_end - pos_);
    if (!tag) return;
    Advance(sign == '-' || sign == '+' ? 3 : 2);
    if (kind == '#') return Comment();
    const bool print = kind == '{';
    Push(print ? Token::Kind::kPrintBegin : Token::Kind::kBlockBegin, print ? "{{" : "{%");
    Inside(print);
  }

  static void StripEnd(std::string* data) {
    size_t keep = 0;
    for (size_t pos = 0; pos < data->size();) {
      const Utf8Char c = ReadUtf8(*data, pos);
      pos += c.length;
      if (!c.valid || !IsSpace(c.code_point)) keep = pos;
    }
    data->resize(keep);
  }

  // lstrip_blocks: white space before a block goes where nothing else stands before it in the line.
  void StripLineStart(std::string* data) const {
    const size_t newline = data->rfind('\n');
    if (newline == std::string::npos && !line_starting_) return;
    const size_t begin = newline == std::string::npos ? 0 : newline + 1;
    std::string tail = data->substr(begin);
    StripEnd(&tail);
    if (tail.empty()) data->resize(begin);
  }

  void Comment() {
    const size_t close = source_.find("#}", pos_);
    if (close == std::string::npos) return Fail("a comment is not closed");
    const char sign = close > pos_ ? source_[close - 1] : ' ';
    Advance(close - pos_);
    AfterBlock(sign);
  }

  // At "%}" or "#}", whose sign has been seen.
  void AfterBlock(char sign) {
    Advance(2);
    if (sign == '-') {
      const size_t begin = pos_;
      SkipSpace();
      line_starting_ = pos_ > begin && source_[pos_ - 1] == '\n';
    } else {
      line_starting_ = sign != '+' && pos_ < source_.size() && source_[pos_] == '\n';
      if (line_starting_) Advance(1);
    }
  }

  void Inside(bool print) {
    const std::string close = print ? "}}" : "%}";
    int open_brackets = 0;
    while (status_.ok()) {
      SkipSpace();
      if (pos_ >= source_.size()) {
        return Fail(print ? "a {{ is not closed" : "a {% is not closed");
      }
      if (open_brackets == 0) {
        const char sign = At("-" + close) ? '-' : !print && At("+" + close) ? '+' : ' ';
        if (sign != ' ' || At(close)) {
          Push(print ? Token::Kind::kPrintEnd : Token::Kind::kBlockEnd, close);
          if (sign != ' ') Advance(1);
          if (!print) return AfterBlock(sign);
          Advance(2);
          line_starting_ = false;
          if (sign == '-') {
            const size_t begin = pos_;
            SkipSpace();
            line_starting_ = pos_ > begin && source_[pos_ - 1] == '\n';
          }
          return;
        }
      }
      const char c = source_[pos_];
      if (c == '\'' || c == '"') {
        String(c);
      } else if (IsNameChar(c, true)) {
        size_t n = 1;
        while (pos_ + n < source_.size() && IsNameChar(source_[pos_ + n], false)) ++n;
        Push(Token::Kind::kName, source_.substr(pos_, n));
        Advance(n);
      } else if (absl::ascii_isdigit(c)) {
        Number();
      } else {
        Operator(&open_brackets);
      }
    }
  }

  void String(char quote) {
    size_t end = pos_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) return Fail("a string is not closed");
    std::string text;
    if (!Unescape(absl::string_view(source_).substr(pos_ + 1, end - pos_ - 1), &text)) {
      return Fail("a string has a broken escape");
    }
    Push(Token::Kind::kString, std::move(text));
    Advance(end + 1 - pos_);
  }

  void Number() {
    size_t n = 0;
    const auto digits = [&] {
      while (pos_ + n < source_.size() && absl::ascii_isdigit(source_[pos_ + n])) ++n;
    };
    const auto digit_at = [&](size_t i) {
      return pos_ + i < source_.size() && absl::ascii_isdigit(source_[pos_ + i]);
    };
    digits();
    bool is_float = false;
    if (pos_ + n < source_.size() && source_[pos_ + n] == '.' && digit_at(n + 1)) {
      is_float = true;
      ++n;
      digits();
    }
    if (pos_ + n < source_.size() && (source_[pos_ + n] | 0x20) == 'e') {
      const bool sign = pos_ + n + 1 < source_.size() &&
                        (source_[pos_ + n + 1] == '-' || source_[pos_ + n + 1] == '+');
      if (digit_at(n + (sign ? 2 : 1))) {
        is_float = true;
        n += sign ? 2 : 1;
        digits();
      }
    }
    if (pos_ + n < source_.size() && IsNameChar(source_[pos_ + n], false)) {
      return Fail("a number is written in a way that is not supported");
    }
    Push(is_float ? Token::Kind::kFloat : Token::Kind::kInteger, source_.substr(pos_, n));
    Advance(n);
  }

  void Operator(int* open_brackets) {
    for (const absl::string_view two : {"//", "**", "==", "!=", ">=", "<="}) {
      if (!At(two)) continue;
      Push(Token::Kind::kOperator, std::string(two));
      return Advance(2);
    }
    const char c = source_[pos_];
    if (absl::string_view("+-/*%~[](){}><=.:|,;").find(c) == absl::string_view::npos) {
      return Fail(absl::StrCat(
          "an unexpected character '",
          ReplaceInvalidUtf8(source_.substr(pos_, ReadUtf8(source_, pos_).length)), "'"));
    }
    if (c == '(' || c == '[' || c == '{') ++*open_brackets;
    if (c == ')' || c == ']' || c == '}') {
      if (*open_brackets == 0) return Fail(absl::StrCat("an unexpected '", std::string(1, c), "'"));
      --*open_brackets;
    }
    Push(Token::Kind::kOperator, std::string(1, c));
    Advance(1);
  }

  const std::string source_;
  size_t pos_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  absl::Status status_;
  std::vector<Token> tokens_;
};

}  // namespace

absl::Status TemplateError(int line, const std::string& message) {
  return absl::InvalidArgumentError(
      absl::StrCat("chat template, line ", line, ": ", ReplaceInvalidUtf8(message)));
}

absl::StatusOr<std::vector<Token>> Tokenize(const std::string& source) {
  return Lexer(NormalizeNewlines(source)).Run();
}

}  // namespace skipserve::jinja
