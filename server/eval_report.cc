#include "server/eval_report.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "nlohmann/json.hpp"
#include "server/terminal.h"

namespace skipserve {
namespace {

constexpr int kWidth = 320;  // room for a reading's name; the lines come out half as long

std::string Name(const EvalResult& result, size_t reading) {
  return reading == 0 ? "dense" : result.readings[reading - 1].name;
}

const char* MethodName(Reading::Method method) {
  switch (method) {
    case Reading::Method::kLast:
      return "last";
    case Reading::Method::kPruneOnce:
      return "prune_once";
    case Reading::Method::kSkip:
      break;
  }
  return "skip";
}

OrderedJson EstimateJson(const Estimate& e) {
  return {{"mean", e.mean}, {"low", e.low}, {"high", e.high}};
}

bool HasLoss(const Summary& s) { return s.loss.mean > 0; }

OrderedJson OutcomeJson(const Outcome& o, bool has_answers) {
  return {{"flop_bound", o.flop_bound},
          {"prefill_seconds", o.prefill_seconds},
          {"answer_tokens", o.answer_tokens},
          {"agreed", o.agreed},
          {"kl", o.kl},
          {"score", has_answers ? OrderedJson(o.score) : OrderedJson()},
          {"loss", o.loss}};
}

}  // namespace

std::string EvalTable(const EvalResult& result, const EvalJob& job) {
  std::string out;
  std::string family;
  int64_t tokens = 0;
  Table table({"task", "tokens", "reading", "FLOP bound", "prefill", "KL", "95 %", "agreement",
               "score", "of dense's", "loss"});
  for (const Summary& s : Summarize(result.cases, job.seed)) {
    const bool first = s.reading == 0;
    if (first) {
      family = s.family;
      tokens = s.tokens;
    }
    table.AddRow(
        {first ? family : "", first ? FormatCount(tokens) : "", Name(result, s.reading),
         absl::StrFormat("%.2fx", s.flop_bound), FormatElapsed(absl::Seconds(s.prefill_seconds)),
         absl::StrFormat("%.3f", s.kl.mean), absl::StrFormat("%.3f-%.3f", s.kl.low, s.kl.high),
         absl::StrFormat("%.3f", s.agreement.mean),
         s.has_answers ? absl::StrFormat("%.2f", s.score.mean) : "-",
         s.has_answers ? absl::StrFormat("%d of %d", s.found, s.asked) : "-",
         HasLoss(s) ? absl::StrFormat("%.3f", s.loss.mean) : "-"});
  }
  absl::StrAppend(&out, table.ToString(kWidth), "\n",
                  job.calibration ? "The tasks that calibration searches on: not to be reported.\n"
                                  : "Held-out tasks.\n");
  for (const std::string& reason : result.left_out) {
    absl::StrAppend(&out, "left out: ", reason, "\n");
  }
  for (const std::string& note : result.notes) absl::StrAppend(&out, note, "\n");
  return out;
}

OrderedJson EvalJson(const Lab& lab, const EvalResult& result, const EvalJob& job) {
  OrderedJson json = {{"model",
                       {{"name", lab.config().name},
                        {"fingerprint", lab.model->fingerprint()},
                        {"backend", lab.ops->name()},
                        {"dtype", lab.precision.name},
                        {"kv_dtype", lab.precision.kv_name}}},
                      {"seed", job.seed},
                      {"held_out", !job.calibration},
                      {"readings", OrderedJson::array({{{"name", "dense"}, {"method", "dense"}}})},
                      {"summaries", OrderedJson::array()},
                      {"cases", OrderedJson::array()},
                      {"left_out", result.left_out},
                      {"notes", result.notes}};
  for (const Reading& reading : result.readings) {
    json["readings"].push_back({{"name", reading.name},
                                {"method", MethodName(reading.method)},
                                {"policy", PolicyToJson(reading.policy)}});
  }
  for (const Summary& s : Summarize(result.cases, job.seed)) {
    json["summaries"].push_back({{"task", s.family},
                                 {"tokens", s.tokens},
                                 {"reading", Name(result, s.reading)},
                                 {"cases", s.cases},
                                 {"flop_bound", s.flop_bound},
                                 {"prefill_seconds", s.prefill_seconds},
                                 {"kl", EstimateJson(s.kl)},
                                 {"agreement", EstimateJson(s.agreement)},
                                 {"score", s.has_answers ? EstimateJson(s.score) : OrderedJson()},
                                 {"found", s.found},
                                 {"asked", s.asked},
                                 {"loss", HasLoss(s) ? EstimateJson(s.loss) : OrderedJson()}});
  }
  for (const Case& c : result.cases) {
    OrderedJson entry = {{"task", c.family},
                         {"tokens", c.tokens},
                         {"prompt_tokens", c.prompt_tokens},
                         {"index", c.index},
                         {"has_answers", c.has_answers},
                         {"dense_answer", Printable(c.dense_answer)},
                         {"outcomes", OrderedJson::array()}};
    for (const Outcome& outcome : c.outcomes)
      entry["outcomes"].push_back(OutcomeJson(outcome, c.has_answers));
    json["cases"].push_back(std::move(entry));
  }
  return json;
}

}  // namespace skipserve
