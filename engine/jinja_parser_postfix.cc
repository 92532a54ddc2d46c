// The half of ExprParser that reads what follows a value: attributes, subscripts, calls, filters
// and tests.
#include "absl/strings/str_cat.h"
#include "engine/jinja_filters.h"
#include "engine/jinja_parser_expr.h"
#include "engine/jinja_strings.h"

namespace skipserve::jinja {

using TokenKind = Token::Kind;
using Kind = Expr::Kind;

ExprPtr ExprParser::Postfix(ExprPtr expr) {
  while (ok()) {
    if (SkipOperator(".")) {
      expr = Make(Kind::kAttribute, std::move(expr));
      if (Peek().kind == TokenKind::kInteger) {
        expr->kind = Kind::kItem;
        Add(expr.get(), Primary());
      } else {
        expr->name = ExpectName();
      }
    } else if (AtOperator("[")) {
      expr = Subscript(std::move(expr));
    } else if (AtOperator("(")) {
      expr = Call(std::move(expr));
    } else {
      break;
    }
  }
  return expr;
}

ExprPtr ExprParser::Subscript(ExprPtr expr) {
  Next();
  ExprPtr parts[3];
  int part = 0;
  bool slice = false;
  while (ok() && !AtOperator("]")) {
    if (SkipOperator(":")) {
      slice = true;
      if (++part == 3) Fail("a slice has too many parts");
      continue;
    }
    if (parts[part] != nullptr) break;
    parts[part] = Expression();
  }
  ExpectOperator("]");
  if (!slice) {
    if (parts[0] == nullptr) Fail("expected an expression, not ']'");
    return Make(Kind::kItem, std::move(expr), std::move(parts[0]));
  }
  expr = Make(Kind::kSlice, std::move(expr));
  for (ExprPtr& bound : parts) Add(expr.get(), std::move(bound));
  return expr;
}

ExprPtr ExprParser::Call(ExprPtr callee) {
  const int line = Peek().line;
  Next();
  ExprPtr call;
  if (callee->kind == Kind::kAttribute) {
    if (!IsMethod(callee->name)) {
      FailAt(line, absl::StrCat("the method '", callee->name, "' is not supported"));
    }
    call = Make(Kind::kMethod, std::move(callee->children[0]));
    call->name = callee->name;
  } else if (callee->kind == Kind::kName) {
    called_.emplace_back(callee->name, line);
    call = Make(Kind::kCall);
    call->name = callee->name;
  } else {
    FailAt(line, "only functions, macros and methods can be called");
    return callee;
  }
  call->line = line;
  Arguments(call.get());
  return call;
}

void ExprParser::Arguments(Expr* call) {
  while (ok() && !AtOperator(")")) {
    const Token& next = Peek(1);
    if (AtOperator("*") || AtOperator("**")) Fail("unpacked arguments are not supported");
    if (Peek().kind == TokenKind::kName && next.kind == TokenKind::kOperator && next.text == "=") {
      std::string name = Next().text;
      Next();
      ExprPtr value = Expression();
      call->depth = std::max(call->depth, value->depth + 1);
      call->keywords.emplace_back(std::move(name), std::move(value));
    } else {
      if (!call->keywords.empty()) Fail("a positional argument stands after a named one");
      Add(call, Expression());
    }
    if (!SkipOperator(",")) break;
  }
  ExpectOperator(")");
}

ExprPtr ExprParser::Filters(ExprPtr expr) {
  while (ok()) {
    if (SkipOperator("|")) {
      const int line = Peek().line;
      const std::string name = ExpectName();
      if (ok() && !IsFilter(name)) {
        FailAt(line, absl::StrCat("the filter '", name, "' is not supported"));
      }
      expr = Make(Kind::kFilter, std::move(expr));
      expr->name = name;
      expr->line = line;
      if (SkipOperator("(")) Arguments(expr.get());
    } else if (AtName("is")) {
      expr = Test(std::move(expr));
    } else if (AtOperator("(")) {
      expr = Call(std::move(expr));
    } else {
      break;
    }
  }
  return expr;
}

ExprPtr ExprParser::Test(ExprPtr expr) {
  Next();
  const bool negated = SkipName("not");
  const int line = Peek().line;
  const std::string name = ExpectName();
  if (ok() && !IsTest(name)) FailAt(line, absl::StrCat("the test '", name, "' is not supported"));
  expr = Make(Kind::kTest, std::move(expr));
  expr->name = name;
  expr->line = line;
  const Token& next = Peek();
  const bool argument = next.kind == TokenKind::kString || next.kind == TokenKind::kInteger ||
                        next.kind == TokenKind::kFloat || AtOperator("[") || AtOperator("{") ||
                        (next.kind == TokenKind::kName && next.text != "else" &&
                         next.text != "or" && next.text != "and" && next.text != "is" &&
                         next.text != "if" && next.text != "not" && next.text != "in");
  if (SkipOperator("(")) {
    Arguments(expr.get());
  } else if (argument) {
    Add(expr.get(), Postfix(Primary()));
  }
  return negated ? Make(Kind::kNot, std::move(expr)) : std::move(expr);
}

}  // namespace skipserve::jinja
