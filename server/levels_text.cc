#include "server/levels_text.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "server/terminal.h"

namespace skipserve {
namespace {

constexpr int kWidth = 200;

std::string BoundText(double flop_bound) { return absl::StrFormat("%.2fx", flop_bound); }

// A row for each level, a column for each length.
std::string BoundsText(const std::vector<SkipLevelInfo>& levels, const std::string& default_level) {
  std::vector<std::string> head = {"level", "policy", "dense layers"};
  for (const LevelBound& bound : levels.front().bounds) {
    head.push_back(absl::StrCat(FormatCount(bound.prompt_tokens), " tokens"));
  }
  Table table(head);
  for (const SkipLevelInfo& level : levels) {
    const bool is_default = level.name == default_level;
    std::vector<std::string> row = {
        Printable(absl::StrCat(level.name, is_default ? " (default)" : "")),
        level.policy_fingerprint, absl::StrCat(level.policy.start)};
    for (const LevelBound& bound : level.bounds) {
      row.push_back(absl::StrCat(BoundText(bound.flop_bound), ", ", FormatPercent(bound.kv_share)));
    }
    table.AddRow(std::move(row));
  }
  return absl::StrCat(
      "by arithmetic: how many times less work than dense, and the share of its KV\n",
      table.ToString(kWidth));
}

}  // namespace

std::string PolicyText(const SkipPolicy& p) {
  return absl::StrFormat(
      "from layer %d, %.2f to %.2f, last %d, window %d, pool %d, memory %g, %s", p.start,
      p.budgets.front(), p.budgets.back(), p.recent, p.window, p.pool, p.memory,
      p.probe_layers.empty() ? "probing everywhere"
                             : "probing in " + absl::StrJoin(p.probe_layers, " "));
}

std::string MeasuredText(const std::vector<SkipLevel>& levels) {
  Table table({"level", "tokens", "prompts", "FLOP bound", "KL per token", "agreement", "facts"});
  std::vector<std::string> notes;
  for (const SkipLevel& level : levels) {
    const LevelFigures& figures = level.figures;
    if (!figures.measured()) {
      table.AddRow({Printable(level.name), "not measured", "", "", "", "", ""});
      continue;
    }
    for (const LengthFigures& l : figures.lengths) {
      table.AddRow({Printable(level.name), FormatCount(l.prompt_tokens), FormatCount(l.cases),
                    BoundText(l.flop_bound), FormatKl(l.kl), FormatPercent(l.agreement),
                    l.facts_asked > 0 ? absl::StrCat(l.facts_found, " of ", l.facts_asked) : "-"});
    }
    if (!figures.weak_tasks.empty()) {
      notes.push_back(
          absl::StrCat(level.name, " is weak at: ", absl::StrJoin(figures.weak_tasks, ", ")));
    }
    if (!figures.measured_on.empty()) {
      notes.push_back(absl::StrCat(level.name, " was measured on: ", figures.measured_on));
    }
  }
  std::string out = absl::StrCat("as measured beside dense\n", table.ToString(kWidth));
  for (const std::string& note : notes) absl::StrAppend(&out, Printable(note), "\n");
  return out;
}

std::string LevelsText(const std::vector<SkipLevelInfo>& levels, const std::string& default_level) {
  if (levels.empty()) return "no skip levels\n";
  std::vector<SkipLevel> measured;
  for (const SkipLevelInfo& level : levels) {
    measured.push_back({level.name, level.policy, level.figures});
  }
  return absl::StrCat(BoundsText(levels, default_level), "\n", MeasuredText(measured));
}

}  // namespace skipserve
