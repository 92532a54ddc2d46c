#include "server/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "engine/utf8.h"

namespace skipserve {
namespace {

constexpr absl::string_view kGap = "  ";

bool Continues(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// Characters, near enough to columns.
size_t Width(absl::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return !Continues(c); }));
}

// The bytes of the first `width` characters.
size_t Prefix(absl::string_view text, size_t width) {
  size_t end = 0;
  for (; end < text.size(); ++end) {
    if (!Continues(text[end]) && width-- == 0) break;
  }
  return end;
}

std::vector<std::string> Wrap(absl::string_view text, size_t width) {
  std::vector<std::string> lines;
  for (absl::string_view rest : absl::StrSplit(text, '\n')) {
    while (Width(rest) > width) {
      const size_t fits = Prefix(rest, width);
      const size_t space = rest.rfind(' ', fits);
      const bool at_space = space != absl::string_view::npos && space > 0;
      const size_t end = at_space ? space : fits;
      lines.emplace_back(rest.substr(0, end));
      rest.remove_prefix(at_space ? end + 1 : end);
    }
    lines.emplace_back(rest);
  }
  return lines;
}

using Lines = std::vector<std::string>;

std::string Pad(const std::string& text, size_t width, bool right) {
  const std::string fill(width - std::min(width, Width(text)), ' ');
  return right ? absl::StrCat(fill, text) : absl::StrCat(text, fill);
}

}  // namespace

std::string FormatCount(int64_t count) {
  std::string digits = absl::StrCat(count);
  const int64_t first = count < 0 ? 1 : 0;
  for (int64_t i = static_cast<int64_t>(digits.size()) - 3; i > first; i -= 3) {
    digits.insert(static_cast<size_t>(i), ",");
  }
  return digits;
}

std::string FormatElapsed(absl::Duration duration) {
  const double seconds = absl::ToDoubleSeconds(duration);
  if (seconds < 0.9995) return absl::StrFormat("%.1f ms", seconds * 1e3);
  if (seconds < 99.5) return absl::StrFormat("%.2f s", seconds);
  const int64_t whole = std::llround(seconds);
  if (whole < 3600) return absl::StrFormat("%d min %d s", whole / 60, whole % 60);
  return absl::StrFormat("%d h %d min", whole / 3600, whole % 3600 / 60);
}

std::string FormatPercent(double share) { return absl::StrFormat("%.1f %%", share * 100); }

std::string FormatKl(double nats) { return absl::StrFormat("%.4f nats", nats); }

std::string FormatRate(double per_second) {
  if (per_second >= 999.5) return FormatCount(std::llround(per_second));
  return absl::StrFormat("%.*f", per_second >= 99.95 ? 0 : per_second >= 9.995 ? 1 : 2, per_second);
}

int TerminalWidth() {
  winsize size = {};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 40) return size.ws_col;
  return 100;
}

std::string Printable(absl::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = ReadUtf8(text, i);
    const bool control = (c.code_point < 0x20 && c.code_point != '\n' && c.code_point != '\t') ||
                         (c.code_point >= 0x7F && c.code_point < 0xA0);
    AppendUtf8(c.valid && !control ? c.code_point : kReplacementCharacter, &out);
    i += c.length;
  }
  return out;
}

std::string Table::ToString(int width) const {
  const size_t columns = rows_.front().size();
  std::vector<size_t> widths(columns, 0);
  size_t label = 0;
  for (const auto& row : rows_) label = std::max(label, Width(row.front()));
  const size_t used = label + kGap.size() * (columns - 1);
  const size_t share = columns < 2 ? 0 : (std::max<size_t>(width, used) - used) / (columns - 1);

  std::vector<std::vector<Lines>> cells;
  for (const auto& row : rows_) {
    cells.emplace_back();
    for (size_t i = 0; i < columns; ++i) {
      const std::string text = i < row.size() ? row[i] : "";
      cells.back().push_back(Wrap(text, i == 0 ? label : std::max<size_t>(share, 8)));
      for (const std::string& line : cells.back().back()) {
        widths[i] = std::max(widths[i], Width(line));
      }
    }
  }
  std::string out;
  for (size_t r = 0; r < cells.size(); ++r) {
    size_t height = 1;
    for (const Lines& lines : cells[r]) height = std::max(height, lines.size());
    for (size_t y = 0; y < height; ++y) {
      std::string line;
      for (size_t i = 0; i < columns; ++i) {
        const std::string text = y < cells[r][i].size() ? cells[r][i][y] : "";
        absl::StrAppend(&line, i == 0 ? "" : kGap, Pad(text, widths[i], i > 0 && height == 1));
      }
      line.erase(line.find_last_not_of(' ') + 1);
      absl::StrAppend(&out, line, "\n");
    }
    if (r > 0) continue;
    size_t total = kGap.size() * (columns - 1);
    for (const size_t w : widths) total += w;
    absl::StrAppend(&out, std::string(total, '-'), "\n");
  }
  return out;
}

ProgressLine::ProgressLine(std::FILE* out) : out_(out), terminal_(isatty(fileno(out)) == 1) {}

void ProgressLine::Update(absl::string_view stage, int64_t done, int64_t total, absl::Time now) {
  const bool new_stage = stage_ != stage;
  if (new_stage) {
    stage_ = std::string(stage);
    began_ = now;
  }
  if (!terminal_) {
    if (new_stage) std::fprintf(out_, "%s: %s steps\n", stage_.c_str(), FormatCount(total).c_str());
    std::fflush(out_);
    return;
  }
  std::string line = absl::StrCat(stage_, ": ", FormatCount(done), " of ", FormatCount(total));
  if (done > 0 && done < total) {
    const absl::Duration left = (now - began_) * (static_cast<double>(total - done) / done);
    absl::StrAppend(&line, ", ", std::llround(absl::ToDoubleSeconds(left)), " s left");
  }
  Say(line);
}

void ProgressLine::Say(absl::string_view text) {
  if (!terminal_) return;
  std::fprintf(out_, "\r%s\033[K", std::string(text).c_str());
  std::fflush(out_);
  shown_ = true;
}

void ProgressLine::Clear() {
  if (!shown_) return;
  std::fputs("\r\033[K", out_);
  std::fflush(out_);
  shown_ = false;
}

}  // namespace skipserve
