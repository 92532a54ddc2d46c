// Reads expressions from a template's tokens, by recursive descent in the order of Jinja's own
// grammar. What Jinja has and this does not is an error naming it. One template, one thread.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "engine/jinja_ast.h"
#include "engine/jinja_lexer.h"

namespace skipserve::jinja {

class ExprParser {
 public:
  explicit ExprParser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  bool ok() const { return status_.ok(); }
  const absl::Status& status() const { return status_; }
  // Keeps the first error.
  void Fail(const std::string& message) { FailAt(Peek().line, message); }
  void FailAt(int line, const std::string& message);

  const Token& Peek(size_t ahead = 0) const;
  Token Next();
  bool AtOperator(absl::string_view op) const;
  bool AtName(absl::string_view name) const;
  bool SkipOperator(absl::string_view op);
  bool SkipName(absl::string_view name);
  void ExpectOperator(absl::string_view op);
  std::string ExpectName();

  // One expression, with or without `a if b else c`; null only after an error.
  ExprPtr Expression(bool with_condition = true);
  // The same, or several with commas between them: a tuple.
  ExprPtr Tuple(bool with_condition = true);

  // Names called as functions, with their lines: the template must define them as macros if they
  // are not Jinja's own.
  const std::vector<std::pair<std::string, int>>& called() const { return called_; }

 private:
  class Nesting;

  ExprPtr Make(Expr::Kind kind, ExprPtr first = nullptr, ExprPtr second = nullptr);
  // Adds a child; an error where the tree gets too deep.
  void Add(Expr* parent, ExprPtr child);

  ExprPtr Condition();
  ExprPtr Or();
  ExprPtr And();
  ExprPtr Not();
  ExprPtr Comparison();
  ExprPtr Sum();
  ExprPtr Concat();
  ExprPtr Product();
  ExprPtr Unary(bool with_filters);
  ExprPtr Primary();
  ExprPtr Brackets();
  ExprPtr Postfix(ExprPtr expr);
  ExprPtr Subscript(ExprPtr expr);
  ExprPtr Call(ExprPtr callee);
  ExprPtr Filters(ExprPtr expr);
  ExprPtr Test(ExprPtr expr);
  void Arguments(Expr* call);

  std::vector<Token> tokens_;
  size_t pos_ = 0;
  int nesting_ = 0;
  absl::Status status_;
  std::vector<std::pair<std::string, int>> called_;
};

}  // namespace skipserve::jinja
