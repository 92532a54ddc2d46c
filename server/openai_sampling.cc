// Sampling and stop rules of a request body, with OpenAI's bounds where OpenAI has the field.
#include <map>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/openai_fields.h"
#include "server/openai_request.h"
#include "server/request_limits.h"

namespace skipserve {
namespace {

void ReadLogitBias(FieldReader& fields, int64_t vocab_size,
                   std::vector<std::pair<int32_t, float>>* out) {
  const nlohmann::json* bias = fields.Find("logit_bias");
  if (bias == nullptr) return;
  if (!bias->is_object()) {
    return fields.Fail("logit_bias", "must be an object, got " + JsonKind(*bias));
  }
  if (bias->size() > kMaxTokenRules) {
    return fields.Fail("logit_bias", absl::StrCat("holds more than ", kMaxTokenRules, " tokens"));
  }
  std::map<int32_t, float> by_id;  // "7" and "07" are one token
  for (const auto& [key, value] : bias->items()) {
    int32_t id = 0;
    if (!absl::SimpleAtoi(key, &id) || id < 0 || id >= vocab_size) {
      return fields.Fail("logit_bias",
                         absl::StrCat("has the key '", key.substr(0, 40),
                                      "', which is not a token id below ", vocab_size));
    }
    const double number = value.is_number() ? value.get<double>() : 1e9;
    if (!(number >= -100 && number <= 100)) {
      return fields.Fail("logit_bias", absl::StrCat("must have values from -100 to 100; that of '",
                                                    id, "' is not"));
    }
    by_id[id] = static_cast<float>(number);
  }
  out->assign(by_id.begin(), by_id.end());
}

void ReadSeed(FieldReader& fields, OpenAiRequest* out) {
  const nlohmann::json* seed = fields.Find("seed");
  if (seed == nullptr) return;
  if (!seed->is_number_integer()) {
    return fields.Fail("seed", "must be an integer, got " + JsonKind(*seed));
  }
  out->generate.sampling.seed = seed->is_number_unsigned()
                                    ? seed->get<uint64_t>()
                                    : static_cast<uint64_t>(seed->get<int64_t>());
  out->has_seed = true;
}

void ReadStopStrings(FieldReader& fields, std::vector<std::string>* out) {
  const nlohmann::json* stop = fields.Find("stop");
  if (stop == nullptr) return;
  const nlohmann::json list = stop->is_string() ? nlohmann::json::array({*stop}) : *stop;
  if (!list.is_array()) {
    return fields.Fail("stop", "must be a string or a list of strings, got " + JsonKind(*stop));
  }
  if (list.size() > kMaxStops) {
    return fields.Fail("stop", absl::StrCat("holds more than ", kMaxStops, " strings"));
  }
  for (const nlohmann::json& item : list) {
    if (!item.is_string()) {
      return fields.Fail("stop", "must hold strings only, got " + JsonKind(item));
    }
    const auto& text = item.get_ref<const std::string&>();
    if (text.empty() || text.size() > kMaxStopBytes) {
      return fields.Fail("stop",
                         absl::StrCat("must hold strings of 1 to ", kMaxStopBytes, " bytes"));
    }
    out->push_back(text);
  }
}

}  // namespace

void ReadSampling(FieldReader& fields, const ModelInfo& model, OpenAiRequest* out) {
  SamplingParams& sampling = out->generate.sampling;
  fields.Number("temperature", 0, 2, &sampling.temperature);
  fields.Number("top_p", 0, 1, &sampling.top_p);
  fields.Number("min_p", 0, 1, &sampling.min_p);
  int64_t top_k = 0;
  fields.Int("top_k", -1, kMaxCount, &top_k);
  sampling.top_k = top_k < 0 ? 0 : static_cast<int32_t>(top_k);  // -1: off, as elsewhere
  fields.Number("repetition_penalty", 0, 100, &sampling.repetition_penalty);
  if (sampling.repetition_penalty <= 0) fields.Fail("repetition_penalty", "must be above 0");
  fields.Number("presence_penalty", -2, 2, &sampling.presence_penalty);
  fields.Number("frequency_penalty", -2, 2, &sampling.frequency_penalty);
  ReadLogitBias(fields, model.config.vocab_size, &sampling.logit_bias);
  ReadSeed(fields, out);
}

void ReadStopRules(FieldReader& fields, const ModelInfo& model, StopRules* out) {
  // Without a limit the engine's default holds in both APIs, not the 16 tokens of OpenAI's
  // completions.
  fields.Int("max_tokens", 1, kMaxCount, &out->max_tokens);
  fields.Int("max_completion_tokens", 1, kMaxCount, &out->max_tokens);
  fields.Int("min_tokens", 0, kMaxCount, &out->min_tokens);
  if (out->max_tokens > 0 && out->min_tokens > out->max_tokens) {
    fields.Fail("min_tokens", "is above the limit of new tokens");
  }
  fields.Bool("ignore_eos", &out->ignore_eos);
  fields.Ints("stop_token_ids", 0, model.config.vocab_size - 1, kMaxTokenRules, &out->token_ids);
  ReadStopStrings(fields, &out->strings);
}

}  // namespace skipserve
