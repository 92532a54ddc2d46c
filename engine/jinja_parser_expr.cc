#include "engine/jinja_parser_expr.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace skipserve::jinja {
namespace {

using TokenKind = Token::Kind;
using Kind = Expr::Kind;

// Parsing and evaluating recurse along the tree. Long sums and chains of `and`, `or` and ~ are
// flat, so only real nesting counts.
constexpr int kMaxDepth = 100;

std::string Describe(const Token& token) {
  return token.kind == TokenKind::kEnd ? "the end of the template"
                                       : absl::StrCat("'", token.text, "'");
}

}  // namespace

// Counts one level of recursion for as long as it lives.
class ExprParser::Nesting {
 public:
  explicit Nesting(ExprParser* parser) : parser_(parser) {
    if (++parser_->nesting_ > kMaxDepth) parser_->Fail("an expression is nested too deeply");
  }
  ~Nesting() { --parser_->nesting_; }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;

 private:
  ExprParser* parser_;
};

void ExprParser::FailAt(int line, const std::string& message) {
  if (status_.ok()) status_ = TemplateError(line, message);
}

const Token& ExprParser::Peek(size_t ahead) const {
  return tokens_[std::min(pos_ + ahead, tokens_.size() - 1)];
}

Token ExprParser::Next() {
  Token token = Peek();
  if (pos_ + 1 < tokens_.size()) ++pos_;
  return token;
}

bool ExprParser::AtOperator(absl::string_view op) const {
  return Peek().kind == TokenKind::kOperator && Peek().text == op;
}

bool ExprParser::AtName(absl::string_view name) const {
  return Peek().kind == TokenKind::kName && Peek().text == name;
}

bool ExprParser::SkipOperator(absl::string_view op) {
  if (!AtOperator(op)) return false;
  Next();
  return true;
}

bool ExprParser::SkipName(absl::string_view name) {
  if (!AtName(name)) return false;
  Next();
  return true;
}

void ExprParser::ExpectOperator(absl::string_view op) {
  if (!SkipOperator(op)) Fail(absl::StrCat("expected '", op, "', not ", Describe(Peek())));
}

std::string ExprParser::ExpectName() {
  if (Peek().kind == TokenKind::kName) return Next().text;
  Fail(absl::StrCat("expected a name, not ", Describe(Peek())));
  return "";
}

ExprPtr ExprParser::Make(Kind kind, ExprPtr first, ExprPtr second) {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = first != nullptr ? first->line : Peek().line;
  if (first != nullptr) Add(expr.get(), std::move(first));
  if (second != nullptr) Add(expr.get(), std::move(second));
  return expr;
}

void ExprParser::Add(Expr* parent, ExprPtr child) {
  if (child != nullptr) parent->depth = std::max(parent->depth, child->depth + 1);
  if (parent->depth > kMaxDepth) Fail("an expression is nested too deeply");
  parent->children.push_back(std::move(child));
}

ExprPtr ExprParser::Expression(bool with_condition) {
  const Nesting nesting(this);
  if (!ok()) return Make(Kind::kConst);
  return with_condition ? Condition() : Or();
}

ExprPtr ExprParser::Tuple(bool with_condition) {
  ExprPtr first = Expression(with_condition);
  if (!AtOperator(",")) return first;
  ExprPtr tuple = Make(Kind::kTuple, std::move(first));
  while (ok() && SkipOperator(",")) {
    const bool ends = Peek().kind == TokenKind::kBlockEnd || Peek().kind == TokenKind::kPrintEnd ||
                      AtOperator(")");
    if (ends) break;
    Add(tuple.get(), Expression(with_condition));
  }
  return tuple;
}

ExprPtr ExprParser::Condition() {
  ExprPtr value = Or();
  while (ok() && SkipName("if")) {
    ExprPtr condition = Make(Kind::kCondition, Or(), std::move(value));
    Add(condition.get(), SkipName("else") ? Expression() : nullptr);
    value = std::move(condition);
  }
  return value;
}

ExprPtr ExprParser::Or() {
  ExprPtr expr = And();
  if (!AtName("or")) return expr;
  expr = Make(Kind::kOr, std::move(expr));
  while (ok() && SkipName("or")) Add(expr.get(), And());
  return expr;
}

ExprPtr ExprParser::And() {
  ExprPtr expr = Not();
  if (!AtName("and")) return expr;
  expr = Make(Kind::kAnd, std::move(expr));
  while (ok() && SkipName("and")) Add(expr.get(), Not());
  return expr;
}

ExprPtr ExprParser::Not() {
  if (!AtName("not")) return Comparison();
  const Nesting nesting(this);
  Next();
  return ok() ? Make(Kind::kNot, Not()) : Make(Kind::kConst);
}

ExprPtr ExprParser::Comparison() {
  ExprPtr expr = Sum();
  bool first = true;
  while (ok()) {
    std::string op;
    if (Peek().kind == TokenKind::kOperator) {
      for (const char* known : {"==", "!=", "<", "<=", ">", ">="}) {
        if (AtOperator(known)) op = known;
      }
    } else if (AtName("in")) {
      op = "in";
    } else if (AtName("not") && Peek(1).kind == TokenKind::kName && Peek(1).text == "in") {
      op = "not in";
      Next();
    }
    if (op.empty()) break;
    Next();
    if (first) expr = Make(Kind::kCompare, std::move(expr));
    first = false;
    expr->operators.push_back(op);
    Add(expr.get(), Sum());
  }
  return expr;
}

ExprPtr ExprParser::Sum() {
  ExprPtr expr = Concat();
  bool first = true;
  while (ok() && (AtOperator("+") || AtOperator("-"))) {
    const std::string op = Next().text;
    if (first) expr = Make(Kind::kBinary, std::move(expr));
    first = false;
    expr->operators.push_back(op);
    Add(expr.get(), Concat());
  }
  return expr;
}

ExprPtr ExprParser::Concat() {
  ExprPtr expr = Product();
  if (!AtOperator("~")) return expr;
  expr = Make(Kind::kConcat, std::move(expr));
  while (ok() && SkipOperator("~")) Add(expr.get(), Product());
  return expr;
}

ExprPtr ExprParser::Product() {
  ExprPtr expr = Unary(true);
  bool first = true;
  while (ok() && (AtOperator("*") || AtOperator("/") || AtOperator("//") || AtOperator("%"))) {
    const std::string op = Next().text;
    if (first) expr = Make(Kind::kBinary, std::move(expr));
    first = false;
    expr->operators.push_back(op);
    Add(expr.get(), Unary(true));
  }
  if (AtOperator("**")) Fail("the operator '**' is not supported");
  return expr;
}

ExprPtr ExprParser::Unary(bool with_filters) {
  const Nesting nesting(this);
  if (!ok()) return Make(Kind::kConst);
  ExprPtr expr;
  if (AtOperator("-") || AtOperator("+")) {
    const std::string op = Next().text;
    expr = Make(Kind::kUnary, Unary(false));
    expr->name = op;
  } else {
    expr = Primary();
  }
  expr = Postfix(std::move(expr));
  return with_filters ? Filters(std::move(expr)) : std::move(expr);
}

ExprPtr ExprParser::Primary() {
  ExprPtr expr = Make(Kind::kConst);
  const Token token = Peek();
  switch (token.kind) {
    case TokenKind::kName: {
      Next();
      if (token.text == "true" || token.text == "True") {
        expr->literal = Value(true);
      } else if (token.text == "false" || token.text == "False") {
        expr->literal = Value(false);
      } else if (token.text == "none" || token.text == "None") {
        expr->literal = Value(None{});
      } else {
        expr->kind = Kind::kName;
        expr->name = token.text;
      }
      return expr;
    }
    case TokenKind::kString: {
      std::string text;
      while (Peek().kind == TokenKind::kString) text += Next().text;
      expr->literal = Value::Trusted(text);
      return expr;
    }
    case TokenKind::kInteger: {
      int64_t value = 0;
      if (!absl::SimpleAtoi(token.text, &value)) Fail("an integer is too large");
      expr->literal = Value(value);
      Next();
      return expr;
    }
    case TokenKind::kFloat: {
      double value = 0;
      if (!absl::SimpleAtod(token.text, &value)) Fail("a number is not valid");
      expr->literal = Value(value);
      Next();
      return expr;
    }
    default:
      if (token.kind == TokenKind::kOperator) return Brackets();
      Fail(absl::StrCat("expected an expression, not ", Describe(token)));
      return expr;
  }
}

ExprPtr ExprParser::Brackets() {
  if (SkipOperator("(")) {
    ExprPtr inner = AtOperator(")") ? Make(Kind::kTuple) : Tuple();
    ExpectOperator(")");
    return inner;
  }
  ExprPtr expr = Make(Kind::kList);
  const bool list = SkipOperator("[");
  if (!list && !SkipOperator("{")) {
    Fail(absl::StrCat("expected an expression, not ", Describe(Peek())));
    return expr;
  }
  if (!list) expr->kind = Kind::kDict;
  const absl::string_view close = list ? "]" : "}";
  while (ok() && !AtOperator(close)) {
    Add(expr.get(), Expression());
    if (!list) {
      ExpectOperator(":");
      Add(expr.get(), Expression());
    }
    if (!SkipOperator(",")) break;
  }
  ExpectOperator(close);
  return expr;
}

}  // namespace skipserve::jinja
