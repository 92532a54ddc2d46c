#include "server/report_text.h"

#include <functional>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/openai_report.h"
#include "server/terminal.h"

namespace skipserve {
namespace {

struct Line {
  const char* label;
  std::function<std::string(const Report&)> text;
};

std::string RateText(double rate) { return rate > 0 ? FormatRate(rate) : "-"; }

std::string TextOr(const std::string& text, const char* otherwise) {
  return text.empty() ? otherwise : text;
}

// "not measured" stands for a level; nobody could have measured a policy made for one request.
std::string ExpectedText(const Report& r, const std::optional<double>& value,
                         std::string (*format)(double)) {
  if (value.has_value()) return format(*value);
  return r.skip_level == "custom" ? "-" : "not measured";
}

// The one list of what is told, used for one run and for several.
const std::vector<Line>& Lines() {
  static const auto* const lines = new std::vector<Line>{
      {"prompt tokens", [](const Report& r) { return FormatCount(r.prompt_tokens); }},
      {"  from the cache", [](const Report& r) { return FormatCount(r.cached_tokens); }},
      {"skip level", LevelText},
      {"  policy", [](const Report& r) { return TextOr(r.policy_fingerprint, "-"); }},
      {"  expected KL", [](const Report& r) { return ExpectedText(r, r.expected_kl, FormatKl); }},
      {"  expected agreement",
       [](const Report& r) { return ExpectedText(r, r.expected_agreement, FormatPercent); }},
      {"token-layers skipped",
       [](const Report& r) {
         return FormatPercent(r.attention_skip_ratio / 2 + r.ffn_skip_ratio / 2);
       }},
      {"  attention", [](const Report& r) { return FormatPercent(r.attention_skip_ratio); }},
      {"  FFN", [](const Report& r) { return FormatPercent(r.ffn_skip_ratio); }},
      {"  KV", [](const Report& r) { return FormatPercent(r.kv_skip_ratio); }},
      {"prefill work skipped", [](const Report& r) { return FormatPercent(r.skip_ratio); }},
      {"FLOP bound", [](const Report& r) { return absl::StrFormat("%.2fx", r.flop_bound); }},
      {"KV tokens cached",
       [](const Report& r) {
         const double share = r.token_layers > 0 ? double(r.kv_token_layers) / r.token_layers : 0;
         return absl::StrCat(FormatCount(r.kv_token_layers), " (", FormatPercent(share), ")");
       }},
      {"queue", [](const Report& r) { return FormatElapsed(r.queue); }},
      {"prefill", [](const Report& r) { return FormatElapsed(r.prefill); }},
      {"  trunk", [](const Report& r) { return FormatElapsed(r.trunk); }},
      {"  skipping", [](const Report& r) { return FormatElapsed(r.skipping); }},
      {"TTFT", [](const Report& r) { return FormatElapsed(r.ttft); }},
      {"new tokens", [](const Report& r) { return FormatCount(r.completion_tokens); }},
      {"tokens per second", [](const Report& r) { return RateText(DecodeRate(r)); }},
      {"between two, mean", [](const Report& r) { return FormatElapsed(r.inter_token_mean); }},
      {"between two, longest", [](const Report& r) { return FormatElapsed(r.inter_token_max); }},
      {"total", [](const Report& r) { return FormatElapsed(r.total); }},
  };
  return *lines;
}

}  // namespace

std::string LevelText(const Report& report) {
  if (report.skip_reason.empty()) return report.skip_level;
  return absl::StrCat(report.skip_level, " (", report.skip_reason, ")");
}

std::string ReportText(const Report& report) {
  std::string out;
  for (const Line& line : Lines()) {
    absl::StrAppendFormat(&out, "%-22s%s\n", line.label, line.text(report));
  }
  return out;
}

std::string CompareText(const std::vector<std::string>& titles,
                        const std::vector<RunOutcome>& outcomes, int width) {
  std::vector<std::string> head = {""};
  head.insert(head.end(), titles.begin(), titles.end());
  Table table(head);
  const auto add = [&](const char* label, const auto& text) {
    std::vector<std::string> row = {label};
    for (const RunOutcome& outcome : outcomes) row.push_back(text(outcome));
    table.AddRow(std::move(row));
  };
  add("answer", [](const RunOutcome& outcome) { return Printable(outcome.text); });
  for (const Line& line : Lines()) {
    add(line.label, [&](const RunOutcome& outcome) { return line.text(outcome.report); });
  }
  std::string out = table.ToString(width);
  if (outcomes.size() < 2) return out;
  const double last = absl::ToDoubleSeconds(outcomes.back().report.ttft);
  if (last <= 0) return out;
  const double gain = absl::ToDoubleSeconds(outcomes.front().report.ttft) / last;
  absl::StrAppendFormat(&out,
                        "\n%s gives the first token %.2f times as fast as %s (FLOP bound %.2f)\n",
                        titles.back(), gain, titles.front(), outcomes.back().report.flop_bound);
  return out;
}

OrderedJson OutcomeJson(const RunOutcome& outcome) {
  OrderedJson json = {{"text", outcome.text}, {"token_ids", outcome.ids}};
  if (outcome.status.ok()) {
    json["finish_reason"] = outcome.reason == FinishReason::kStop ? "stop" : "length";
  } else {
    json["finish_reason"] = nullptr;
    json["error"] = std::string(outcome.status.message());
  }
  const Report& report = outcome.report;
  json["usage"] = UsageJson({&report, 1}, 1);
  json["skip"] = SkipJson(report);
  json["timings"] = TimingsJson(report);
  json["timings"]["tokens_per_second"] = DecodeRate(report);
  return json;
}

}  // namespace skipserve
