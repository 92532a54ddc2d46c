// What people see at a terminal: numbers in words, tables, and a progress line with the time left.
// Knows nothing of engines. Pure functions, but for ProgressLine, which one thread uses.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace skipserve {

std::string FormatCount(int64_t count);              // 12,345
std::string FormatElapsed(absl::Duration duration);  // 83.1 ms, 4.52 s, 2 min 5 s
std::string FormatPercent(double share);             // 0.526 -> 52.6 %
std::string FormatKl(double nats);                   // 0.0123 nats
std::string FormatRate(double per_second);           // three digits that matter: 4.21, 38.4, 1,568

// Columns on a terminal, in characters; 100 where there is none to ask.
int TerminalWidth();

// The same text, fit to print: control characters other than newline and tab, and bytes that are
// not UTF-8, become U+FFFD, so that no document and no answer can steer the terminal.
std::string Printable(absl::string_view text);

// A table of text. The first column is aligned left, the others right; a cell of several lines
// makes a row of several lines, which is aligned left.
class Table {
 public:
  explicit Table(std::vector<std::string> head) : rows_({std::move(head)}) {}
  void AddRow(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  // Cells wider than their share of `width` are wrapped at spaces.
  std::string ToString(int width) const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

// One line that is written over again: "building proxies 12 of 30, 8 s left". Where `out` is no
// terminal it writes a line for each stage and nothing between.
class ProgressLine {
 public:
  explicit ProgressLine(std::FILE* out);
  ~ProgressLine() { Clear(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void Update(absl::string_view stage, int64_t done, int64_t total, absl::Time now);
  // Something without steps, such as "loading the model"; on a terminal only.
  void Say(absl::string_view text);
  // Before anything else is printed.
  void Clear();

 private:
  std::FILE* const out_;
  const bool terminal_;
  bool shown_ = false;
  std::string stage_;
  absl::Time began_ = absl::InfinitePast();
};

}  // namespace skipserve
