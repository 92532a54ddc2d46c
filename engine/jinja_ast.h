// A parsed template: plain nodes, each owning its children and knowing its line. Immutable once
// parsed, so renderings may share it from any thread. The parser bounds every tree's depth.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/jinja_value.h"

namespace skipserve::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Expr {
  enum class Kind {
    kConst,      // literal
    kName,       // name
    kList,       // children
    kTuple,      // children
    kDict,       // children: key, value, key, value...
    kAttribute,  // children[0].name
    kItem,       // children[0][children[1]]
    kSlice,      // children[0][children[1]:children[2]:children[3]], the last three may be null
    kCall,       // children[0](children[1...], keywords)
    kMethod,     // children[0].name(children[1...], keywords)
    kFilter,     // children[0] | name(children[1...], keywords)
    kTest,       // children[0] is name(children[1...], keywords)
    kNot,
    kUnary,    // name is the operator
    kBinary,   // name is the operator
    kConcat,   // children joined by ~
    kCompare,  // children[0] operators[0] children[1] operators[1] children[2]...
    kAnd,
    kOr,
    kCondition,  // children[1] if children[0] else children[2], which may be null
  };
  Kind kind;
  int line = 0;
  int depth = 1;  // of the tree below, this node included
  std::string name;
  Value literal;
  std::vector<ExprPtr> children;
  std::vector<std::string> operators;
  std::vector<std::pair<std::string, ExprPtr>> keywords;
};

struct Statement;
using Block = std::vector<std::unique_ptr<Statement>>;

struct Statement {
  enum class Kind {
    kText,   // name is the text
    kPrint,  // exprs[0]
    kIf,     // exprs[i] guards blocks[i]; one more block is the else
    kFor,    // targets in exprs[0], exprs[1] the filter or null; blocks[0] the body, blocks[1] the
             // else
    kSet,    // targets = exprs[0]
    kSetBlock,      // targets[0] = blocks[0]
    kSetAttribute,  // targets[0].name = exprs[0]
    kMacro,  // name(targets), exprs are the defaults of the last parameters; blocks[0] the body
    kGroup,  // blocks[0], as it is
    kBreak,
    kContinue,
  };
  Kind kind;
  int line = 0;
  std::string name;
  std::vector<std::string> targets;
  std::vector<ExprPtr> exprs;
  std::vector<Block> blocks;
};

}  // namespace skipserve::jinja
