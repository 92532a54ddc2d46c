#include "engine/jinja_parser.h"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/jinja_functions.h"
#include "engine/jinja_parser_expr.h"

namespace skipserve::jinja {
namespace {

using TokenKind = Token::Kind;
using Kind = Statement::Kind;
using StatementPtr = std::unique_ptr<Statement>;

constexpr int kMaxBlockNesting = 40;

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : in_(std::move(tokens)) {}

  absl::StatusOr<Block> Run() {
    Block block = ParseBlock({});
    for (const auto& [name, line] : in_.called()) {
      if (IsFunctionName(name) ||
          std::find(macros_.begin(), macros_.end(), name) != macros_.end()) {
        continue;
      }
      in_.FailAt(line, absl::StrCat("the function '", name, "' is not supported"));
    }
    if (!in_.ok()) return in_.status();
    return block;
  }

 private:
  using Ends = std::initializer_list<absl::string_view>;

  static StatementPtr Make(Kind kind, int line) {
    auto statement = std::make_unique<Statement>();
    statement->kind = kind;
    statement->line = line;
    return statement;
  }

  void EndTag() {
    if (in_.Peek().kind != TokenKind::kBlockEnd) {
      in_.Fail(absl::StrCat("expected the end of the block, not '", in_.Peek().text, "'"));
    }
    in_.Next();
  }

  // Statements up to one of the tags in `ends`, whose name is left as the next token; with no ends,
  // up to the end.
  Block ParseBlock(Ends ends) {
    Block block;
    if (++nesting_ > kMaxBlockNesting) in_.Fail("blocks are nested too deeply");
    while (in_.ok()) {
      const Token token = in_.Next();
      if (token.kind == TokenKind::kEnd) {
        if (ends.size() > 0) {
          in_.FailAt(token.line, absl::StrCat("the template ends where ",
                                              absl::StrJoin(ends, " or "), " is expected"));
        }
        break;
      }
      if (token.kind == TokenKind::kData) {
        block.push_back(Make(Kind::kText, token.line));
        block.back()->name = token.text;
      } else if (token.kind == TokenKind::kPrintBegin) {
        block.push_back(Make(Kind::kPrint, token.line));
        block.back()->exprs.push_back(in_.Tuple());
        if (in_.Peek().kind != TokenKind::kPrintEnd) {
          in_.Fail(absl::StrCat("expected '}}', not '", in_.Peek().text, "'"));
        }
        in_.Next();
      } else {
        if (in_.Peek().kind == TokenKind::kName &&
            std::find(ends.begin(), ends.end(), in_.Peek().text) != ends.end()) {
          break;
        }
        block.push_back(ParseTag(token.line));
      }
    }
    --nesting_;
    return block;
  }

  StatementPtr ParseTag(int line) {
    const std::string name = in_.ExpectName();
    if (name == "if") return ParseIf(line);
    if (name == "for") return ParseFor(line);
    if (name == "set") return ParseSet(line);
    if (name == "macro") return ParseMacro(line);
    if (name ==
        "generation") {  // transformers' mark around the assistant's turns: no output of its own
      StatementPtr group = Make(Kind::kGroup, line);
      EndTag();
      group->blocks.push_back(ParseBlock({"endgeneration"}));
      in_.Next();
      EndTag();
      return group;
    }
    if (name == "break" || name == "continue") {
      if (loops_ == 0) in_.FailAt(line, absl::StrCat("'", name, "' stands outside a loop"));
      EndTag();
      return Make(name == "break" ? Kind::kBreak : Kind::kContinue, line);
    }
    in_.FailAt(line, absl::StrCat("the statement '", name, "' is not supported"));
    return Make(Kind::kGroup, line);
  }

  StatementPtr ParseIf(int line) {
    StatementPtr statement = Make(Kind::kIf, line);
    statement->exprs.push_back(in_.Tuple(/*with_condition=*/false));
    EndTag();
    statement->blocks.push_back(ParseBlock({"elif", "else", "endif"}));
    while (in_.ok() && in_.SkipName("elif")) {
      statement->exprs.push_back(in_.Tuple(/*with_condition=*/false));
      EndTag();
      statement->blocks.push_back(ParseBlock({"elif", "else", "endif"}));
    }
    if (in_.SkipName("else")) {
      EndTag();
      statement->blocks.push_back(ParseBlock({"endif"}));
    }
    in_.Next();
    EndTag();
    return statement;
  }

  std::vector<std::string> Targets() {
    std::vector<std::string> targets;
    const bool brackets = in_.SkipOperator("(");
    do {
      targets.push_back(in_.ExpectName());
    } while (in_.ok() && in_.SkipOperator(","));
    if (brackets) in_.ExpectOperator(")");
    return targets;
  }

  StatementPtr ParseFor(int line) {
    StatementPtr statement = Make(Kind::kFor, line);
    statement->targets = Targets();
    if (!in_.SkipName("in")) in_.Fail("expected 'in'");
    statement->exprs.push_back(in_.Tuple(/*with_condition=*/false));
    statement->exprs.push_back(in_.SkipName("if") ? in_.Expression() : nullptr);
    if (in_.AtName("recursive")) in_.Fail("recursive loops are not supported");
    EndTag();
    ++loops_;
    statement->blocks.push_back(ParseBlock({"else", "endfor"}));
    --loops_;
    statement->blocks.emplace_back();
    if (in_.SkipName("else")) {
      EndTag();
      statement->blocks[1] = ParseBlock({"endfor"});
    }
    in_.Next();
    EndTag();
    return statement;
  }

  StatementPtr ParseSet(int line) {
    StatementPtr statement = Make(Kind::kSet, line);
    statement->targets = Targets();
    if (statement->targets.size() == 1 && in_.SkipOperator(".")) {
      statement->kind = Kind::kSetAttribute;
      statement->name = in_.ExpectName();
    }
    if (in_.SkipOperator("=")) {
      statement->exprs.push_back(in_.Tuple());
      EndTag();
      return statement;
    }
    if (in_.AtOperator("|")) in_.Fail("a filter on a set block is not supported");
    if (statement->kind == Kind::kSetAttribute || statement->targets.size() != 1) {
      in_.Fail("expected '='");
    }
    EndTag();
    statement->kind = Kind::kSetBlock;
    statement->blocks.push_back(ParseBlock({"endset"}));
    in_.Next();
    EndTag();
    return statement;
  }

  StatementPtr ParseMacro(int line) {
    // Only there is a macro's surrounding scope the template's own.
    if (nesting_ != 1) in_.FailAt(line, "a macro inside another block is not supported");
    StatementPtr statement = Make(Kind::kMacro, line);
    statement->name = in_.ExpectName();
    in_.ExpectOperator("(");
    while (in_.ok() && !in_.AtOperator(")")) {
      statement->targets.push_back(in_.ExpectName());
      if (in_.SkipOperator("=")) {
        statement->exprs.push_back(in_.Expression());
      } else if (!statement->exprs.empty()) {
        in_.Fail("a parameter without a default stands after one with a default");
      }
      if (!in_.SkipOperator(",")) break;
    }
    in_.ExpectOperator(")");
    EndTag();
    macros_.push_back(statement->name);
    const int outer_loops = std::exchange(loops_, 0);
    statement->blocks.push_back(ParseBlock({"endmacro"}));
    loops_ = outer_loops;
    in_.Next();
    if (in_.Peek().kind == TokenKind::kName) in_.Next();
    EndTag();
    return statement;
  }

  ExprParser in_;
  int nesting_ = 0;
  int loops_ = 0;
  std::vector<std::string> macros_;
};

}  // namespace

absl::StatusOr<Block> ParseTemplate(const std::string& source) {
  absl::StatusOr<std::vector<Token>> tokens = Tokenize(source);
  if (!tokens.ok()) return tokens.status();
  return Parser(*std::move(tokens)).Run();
}

}  // namespace skipserve::jinja
