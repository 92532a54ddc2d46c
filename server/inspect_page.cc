#include "server/inspect_page.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_replace.h"
#include "server/openai_report.h"
#include "server/pages.h"
#include "server/token_texts.h"

namespace skipserve {
namespace {

using nlohmann::json;

std::string Bitmap(const std::vector<int32_t>& rows, size_t tokens) {
  if (rows.size() == tokens) return "*";
  std::string bits((tokens + 7) / 8, '\0');
  for (const int32_t row : rows) {
    if (row < 0 || static_cast<size_t>(row) >= tokens) continue;
    bits[row / 8] = static_cast<char>(bits[row / 8] | (1 << (row % 8)));
  }
  return absl::Base64Escape(bits);
}

}  // namespace

json InspectData(const ModelInfo& model, const Tokenizer& tokenizer, const InspectedRun& run) {
  const Report& report = run.outcome.report;
  json attention = json::array(), ffn = json::array(), candidates = json::array();
  for (const LayerRows& rows : report.rows) {
    attention.push_back(Bitmap(rows.attention, run.prompt.size()));
    ffn.push_back(Bitmap(rows.ffn, run.prompt.size()));
  }
  for (const LayerCounts& layer : report.layers) candidates.push_back(layer.candidates);
  Report brief = report;
  brief.rows.clear();
  brief.layers.clear();
  const std::string name =
      model.config.name.empty() ? model.config.architecture : model.config.name;
  return {{"model",
           {{"name", name},
            {"dtype", model.dtype},
            {"kv_dtype", model.kv_dtype},
            {"backend", model.backend},
            {"layers", model.config.layers}}},
          {"document", run.document},
          {"question", run.question},
          {"answer", run.outcome.text},
          {"complete", run.outcome.reason == FinishReason::kStop},
          {"completion_tokens", report.completion_tokens},
          {"skip", json::parse(DumpJson(SkipJson(brief)))},
          {"timings", json::parse(DumpJson(TimingsJson(brief)))},
          {"ids", run.prompt},
          {"texts", TokenTexts(tokenizer, run.prompt)},
          {"special", SpecialPositions(tokenizer, run.prompt)},
          {"candidates", std::move(candidates)},
          {"attention", std::move(attention)},
          {"ffn", std::move(ffn)}};
}

std::string ScriptSafeJson(const json& data) {
  const std::string text =
      data.dump(-1, ' ', /*ensure_ascii=*/false, json::error_handler_t::replace);
  std::string safe;
  safe.reserve(text.size());
  // Only strings can hold these, so an escape means the same as the character.
  for (const char c : text) {
    if (c == '<') {
      safe += "\\u003c";
    } else if (c == '>') {
      safe += "\\u003e";
    } else if (c == '&') {
      safe += "\\u0026";
    } else {
      safe += c;
    }
  }
  return safe;
}

std::string InspectPage(const ModelInfo& model, const Tokenizer& tokenizer,
                        const InspectedRun& run) {
  return absl::StrReplaceAll(kInspectPage,
                             {{"{{data}}", ScriptSafeJson(InspectData(model, tokenizer, run))}});
}

}  // namespace skipserve
