#include "engine/jinja_interp.h"

#include <algorithm>
#include <memory>

#include "absl/strings/str_cat.h"
#include "engine/jinja_filters.h"
#include "engine/jinja_functions.h"
#include "engine/jinja_ops.h"
#include "engine/jinja_run.h"
#include "engine/jinja_strings.h"

namespace skipserve::jinja {
namespace {

// Together with the parser's bounds on a macro's own depth this bounds the stack.
constexpr int kMaxMacroDepth = 12;
constexpr size_t kNodeWork = 4;

enum class Flow { kNext, kBreak, kContinue };

class Interpreter {
 public:
  Interpreter(std::vector<std::pair<std::string, Value>> variables, const Limits& limits,
              absl::Time now)
      : run_(limits.work, now), max_output_(limits.output) {
    frames_.push_back(std::move(variables));
  }

  absl::StatusOr<Text> Execute(const Block& program) {
    Text out;
    RunBlock(program, &out);
    if (!run_.ok()) return run_.status();
    return out;
  }

 private:
  using Frame = std::vector<std::pair<std::string, Value>>;

  // The innermost frame first, then the enclosing ones of the same macro, then the template's own.
  const Value* Lookup(const std::string& name) const {
    const auto in = [&name](const Frame& frame) -> const Value* {
      for (const auto& [variable, value] : frame) {
        if (variable == name) return &value;
      }
      return nullptr;
    };
    for (size_t i = frames_.size(); i > first_frame_; --i) {
      if (const Value* value = in(frames_[i - 1])) return value;
    }
    return in(frames_[0]);
  }

  void Assign(const std::string& name, Value value) {
    for (auto& [variable, old] : frames_.back()) {
      if (variable == name) {
        old = std::move(value);
        return;
      }
    }
    frames_.back().emplace_back(name, std::move(value));
  }

  // One value to one name, or the elements of a sequence to several.
  void AssignAll(const std::vector<std::string>& targets, const Value& value) {
    if (targets.size() == 1) return Assign(targets[0], value);
    const std::vector<Value> items = Iterate(&run_, value);
    if (items.size() != targets.size()) {
      run_.Fail(
          absl::StrCat("cannot give ", items.size(), " values to ", targets.size(), " names"));
      return;
    }
    for (size_t i = 0; i < items.size(); ++i) Assign(targets[i], items[i]);
  }

  void Write(const Text& text, Text* out) {
    if (!run_.Charge(text.size())) return;
    if (out->size() + text.size() > max_output_) {
      run_.Fail("the template writes more than its input allows");
      return;
    }
    out->Append(text);
  }

  Flow RunBlock(const Block& block, Text* out) {
    for (const std::unique_ptr<Statement>& statement : block) {
      run_.line = statement->line;
      if (!run_.Charge(kNodeWork)) return Flow::kNext;
      const Flow flow = RunStatement(*statement, out);
      if (!run_.ok() || flow != Flow::kNext) return flow;
    }
    return Flow::kNext;
  }

  Flow RunStatement(const Statement& statement, Text* out) {
    switch (statement.kind) {
      case Statement::Kind::kText:
        Write(Text(statement.name, true), out);
        break;
      case Statement::Kind::kPrint:
        Write(run_.Print(Eval(*statement.exprs[0])), out);
        break;
      case Statement::Kind::kIf:
        return RunIf(statement, out);
      case Statement::Kind::kFor:
        RunFor(statement, out);
        break;
      case Statement::Kind::kSet:
        AssignAll(statement.targets, Eval(*statement.exprs[0]));
        break;
      case Statement::Kind::kSetBlock: {
        Text text;
        const Flow flow = RunBlock(statement.blocks[0], &text);
        Assign(statement.targets[0], Value(std::move(text)));
        return flow;
      }
      case Statement::Kind::kSetAttribute:
        SetAttribute(statement);
        break;
      case Statement::Kind::kMacro:
        Assign(statement.name, Value(Macro{&statement}));
        break;
      case Statement::Kind::kGroup:
        return RunBlock(statement.blocks[0], out);
      case Statement::Kind::kBreak:
        return Flow::kBreak;
      case Statement::Kind::kContinue:
        return Flow::kContinue;
    }
    return Flow::kNext;
  }

  Flow RunIf(const Statement& statement, Text* out) {
    for (size_t i = 0; i < statement.blocks.size(); ++i) {
      const bool taken = i >= statement.exprs.size() || Eval(*statement.exprs[i]).Truth();
      if (!run_.ok()) break;
      if (taken) return RunBlock(statement.blocks[i], out);
    }
    return Flow::kNext;
  }

  void RunFor(const Statement& statement, Text* out) {
    std::vector<Value> items = Iterate(&run_, Eval(*statement.exprs[0]));
    if (statement.exprs[1] != nullptr) {
      std::vector<Value> kept;
      for (Value& item : items) {
        frames_.emplace_back();
        AssignAll(statement.targets, item);
        const bool keep = run_.ok() && Eval(*statement.exprs[1]).Truth();
        frames_.pop_back();
        if (!run_.ok()) return;
        if (keep) kept.push_back(std::move(item));
      }
      items = std::move(kept);
    }
    for (size_t i = 0; i < items.size() && run_.ok(); ++i) {
      frames_.emplace_back();
      AssignAll(statement.targets, items[i]);
      Assign("loop", LoopVariable(&run_, items, i));
      const Flow flow = RunBlock(statement.blocks[0], out);
      frames_.pop_back();
      if (flow == Flow::kBreak) break;
    }
    if (items.empty() && run_.ok()) {
      frames_.emplace_back();
      RunBlock(statement.blocks[1], out);
      frames_.pop_back();
    }
  }

  void SetAttribute(const Statement& statement) {
    const Value* target = Lookup(statement.targets[0]);
    if (target == nullptr || target->name_space() == nullptr) {
      run_.Fail(absl::StrCat("'", statement.targets[0], "' is not a namespace"));
      return;
    }
    const std::shared_ptr<Namespace> keep = target->shared_name_space();
    Value value = Eval(*statement.exprs[0]);
    // It could come to hold itself.
    if (value.name_space() != nullptr) {
      run_.Fail("a namespace cannot be stored in a namespace");
      return;
    }
    keep->attributes.Set(Value::Trusted(statement.name), std::move(value));
  }

  // The operands of a call, but for the first `skip` children.
  Args EvalArgs(const Expr& expr, size_t skip) {
    Args args;
    for (size_t i = skip; i < expr.children.size() && run_.ok(); ++i) {
      args.positional.push_back(Eval(*expr.children[i]));
    }
    for (const auto& [name, value] : expr.keywords) {
      if (run_.ok()) args.keywords.emplace_back(name, Eval(*value));
    }
    return args;
  }

  Value Eval(const Expr& expr) {
    if (!run_.Charge(kNodeWork)) return Value();
    switch (expr.kind) {
      case Expr::Kind::kConst:
        return expr.literal;
      case Expr::Kind::kName: {
        const Value* value = Lookup(expr.name);
        if (value != nullptr) return *value;
        // So that `strftime_now is defined` holds; a function is not a value otherwise.
        if (IsFunctionName(expr.name)) return Value(Macro{nullptr});
        return Value::UndefinedNamed(absl::StrCat("'", expr.name, "'"));
      }
      case Expr::Kind::kList:
      case Expr::Kind::kTuple:
        return EvalList(expr);
      case Expr::Kind::kDict:
        return EvalDict(expr);
      case Expr::Kind::kAnd:
      case Expr::Kind::kOr:
        return EvalLogic(expr);
      case Expr::Kind::kCondition: {
        const bool holds = Eval(*expr.children[0]).Truth();
        if (!run_.ok()) return Value();
        const ExprPtr& chosen = expr.children[holds ? 1 : 2];
        return chosen == nullptr ? Value::UndefinedNamed("a condition without else")
                                 : Eval(*chosen);
      }
      case Expr::Kind::kCall:
        return EvalCall(expr);
      default:
        break;
    }
    // What is left begins with one operand.
    const Value first = Eval(*expr.children[0]);
    if (!run_.ok()) return Value();
    run_.line = expr.line;
    switch (expr.kind) {
      case Expr::Kind::kAttribute:
        return Attribute(&run_, first, expr.name);
      case Expr::Kind::kItem: {
        const Value index = Eval(*expr.children[1]);
        return run_.ok() ? Item(&run_, first, index) : Value();
      }
      case Expr::Kind::kSlice: {
        Value bounds[3];
        for (size_t i = 0; i < 3; ++i) {
          const ExprPtr& bound = expr.children[i + 1];
          bounds[i] = bound == nullptr ? Value(None{}) : Eval(*bound);
        }
        return run_.ok() ? Slice(&run_, first, bounds[0], bounds[1], bounds[2]) : Value();
      }
      case Expr::Kind::kMethod: {
        const Args args = EvalArgs(expr, 1);
        return run_.ok() ? CallMethod(&run_, first, expr.name, args) : Value();
      }
      case Expr::Kind::kFilter: {
        const Args args = EvalArgs(expr, 1);
        return run_.ok() ? ApplyFilter(&run_, expr.name, first, args) : Value();
      }
      case Expr::Kind::kTest: {
        const Args args = EvalArgs(expr, 1);
        return run_.ok() ? Value(ApplyTest(&run_, expr.name, first, args)) : Value();
      }
      case Expr::Kind::kNot:
        return Value(!first.Truth());
      case Expr::Kind::kUnary:
        if (expr.name == "-") return Negate(&run_, first);
        return Binary(&run_, "+", Value(int64_t{0}), first);
      case Expr::Kind::kConcat: {
        Text text = run_.Print(first);
        for (size_t i = 1; i < expr.children.size() && run_.ok(); ++i) {
          text.Append(run_.Print(Eval(*expr.children[i])));
        }
        return run_.Make(std::move(text));
      }
      case Expr::Kind::kBinary:
      case Expr::Kind::kCompare:
        return EvalOperators(expr, first);
      default:
        return run_.Fail("an expression is not supported");
    }
  }

  Value EvalList(const Expr& expr) {
    std::vector<Value> items;
    for (const ExprPtr& child : expr.children) {
      items.push_back(Eval(*child));
      if (!run_.ok()) return Value();
      if (items.back().name_space() != nullptr) {
        return run_.Fail("a namespace cannot be stored in a list");
      }
    }
    return run_.MakeList(std::move(items), expr.kind == Expr::Kind::kTuple);
  }

  Value EvalDict(const Expr& expr) {
    Dict dict;
    for (size_t i = 0; i + 1 < expr.children.size(); i += 2) {
      Value key = Eval(*expr.children[i]);
      Value value = Eval(*expr.children[i + 1]);
      if (!run_.ok()) return Value();
      if (key.text() == nullptr) return run_.Fail("a dict's key must be a string");
      if (value.name_space() != nullptr) {
        return run_.Fail("a namespace cannot be stored in a dict");
      }
      dict.Set(std::move(key), std::move(value));
    }
    return run_.MakeDict(std::move(dict));
  }

  Value EvalLogic(const Expr& expr) {
    Value value;
    for (const ExprPtr& child : expr.children) {
      value = Eval(*child);
      if (!run_.ok() || value.Truth() == (expr.kind == Expr::Kind::kOr)) break;
    }
    return value;
  }

  // a + b - c from the left; a < b < c holds where each pair does.
  Value EvalOperators(const Expr& expr, Value left) {
    for (size_t i = 0; i < expr.operators.size(); ++i) {
      Value right = Eval(*expr.children[i + 1]);
      if (!run_.ok()) return Value();
      run_.line = expr.line;
      if (expr.kind == Expr::Kind::kBinary) {
        left = Binary(&run_, expr.operators[i], left, right);
      } else {
        if (!Compare(&run_, expr.operators[i], left, right)) return Value(false);
        left = std::move(right);
      }
      if (!run_.ok()) return Value();
    }
    return expr.kind == Expr::Kind::kBinary ? left : Value(true);
  }

  Value EvalCall(const Expr& expr) {
    const Args args = EvalArgs(expr, 0);
    if (!run_.ok()) return Value();
    run_.line = expr.line;
    const Value* callee = Lookup(expr.name);
    if (callee != nullptr && callee->macro() != nullptr) return CallMacro(*callee->macro(), args);
    if (callee != nullptr) return run_.Fail(absl::StrCat("'", expr.name, "' is not a function"));
    if (IsFunctionName(expr.name)) return CallFunction(&run_, expr.name, args);
    return run_.Fail(absl::StrCat("'", expr.name, "' is undefined"));
  }

  Value CallMacro(const Statement& macro, const Args& args) {
    const std::vector<std::string>& names = macro.targets;
    for (const auto& [name, unused] : args.keywords) {
      if (std::find(names.begin(), names.end(), name) == names.end()) {
        return run_.Fail(
            absl::StrCat("the macro '", macro.name, "' has no parameter '", name, "'"));
      }
    }
    if (args.positional.size() > names.size()) {
      return run_.Fail(absl::StrCat("the macro '", macro.name, "' is given too many arguments"));
    }
    if (++macro_depth_ > kMaxMacroDepth) return run_.Fail("macros call each other too deeply");
    const size_t outer_first = std::exchange(first_frame_, frames_.size());
    frames_.emplace_back();
    const size_t required = names.size() - macro.exprs.size();
    for (size_t i = 0; i < names.size() && run_.ok(); ++i) {
      const Value* given = args.Get(i, names[i]);
      if (given != nullptr) {
        Assign(names[i], *given);
      } else if (i >= required) {
        Assign(names[i], Eval(*macro.exprs[i - required]));
      } else {
        Assign(names[i], Value::UndefinedNamed(absl::StrCat("parameter '", names[i], "'")));
      }
    }
    Text text;
    RunBlock(macro.blocks[0], &text);
    frames_.pop_back();
    first_frame_ = outer_first;
    --macro_depth_;
    return run_.ok() ? run_.Make(std::move(text)) : Value();
  }

  Run run_;
  const size_t max_output_;
  std::vector<Frame> frames_;
  size_t first_frame_ = 0;  // of the macro that runs
  int macro_depth_ = 0;
};

}  // namespace

absl::StatusOr<Text> Interpret(const Block& program,
                               std::vector<std::pair<std::string, Value>> variables,
                               const Limits& limits, absl::Time now) {
  return Interpreter(std::move(variables), limits, now).Execute(program);
}

}  // namespace skipserve::jinja
