#include "server/openai_request.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/openai_fields.h"
#include "server/request_limits.h"

namespace skipserve {
namespace {

constexpr double kMaxTimeoutSeconds = 7 * 86400.0;

// Chat: "logprobs" is a switch and "top_logprobs" the count. Completions: "logprobs" is the count.
void ReadLogprobs(FieldReader& fields, OpenAiRequest* out) {
  if (out->api == OpenAiApi::kCompletions) {
    // Clients that speak both APIs send false for "none".
    const nlohmann::json* value = fields.Find("logprobs");
    if (value == nullptr || *value == false) return;
    int64_t count = 0;
    fields.Int("logprobs", 0, kMaxLogprobs, &count);
    out->generate.logprobs = static_cast<int32_t>(count);
    return;
  }
  bool wanted = false;
  int64_t count = 0;
  fields.Bool("logprobs", &wanted);
  fields.Int("top_logprobs", 0, kMaxLogprobs, &count);
  if (count > 0 && !wanted) {
    fields.Fail("top_logprobs", "needs 'logprobs' to be true");
  }
  if (wanted) out->generate.logprobs = static_cast<int32_t>(count);
}

void ReadStream(FieldReader& fields, OpenAiRequest* out) {
  fields.Bool("stream", &out->stream);
  const nlohmann::json* options = fields.Find("stream_options");
  if (options == nullptr) return;
  if (!options->is_object()) {
    return fields.Fail("stream_options", "must be an object, got " + JsonKind(*options));
  }
  if (!out->stream) return fields.Fail("stream_options", "needs 'stream' to be true");
  FieldReader inner(*options, "stream_options.");
  inner.Bool("include_usage", &out->include_usage);
  if (!inner.ok()) fields.Fail(*inner.error());
}

void ReadTimeout(FieldReader& fields, GenerateRequest* out) {
  double timeout = 0;
  fields.Number("timeout_seconds", 0, kMaxTimeoutSeconds, &timeout);
  if (fields.Find("timeout_seconds") == nullptr) return;
  if (timeout <= 0) fields.Fail("timeout_seconds", "must be above 0");
  out->deadline = absl::Now() + absl::Seconds(timeout);
}

// Fields of OpenAI's that would change the answer's meaning and that this server does not have: a
// client must not believe that they were followed.
void RefuseUnsupported(FieldReader& fields, const OpenAiRequest& request) {
  if (request.api == OpenAiApi::kCompletions) {
    bool echo = false;
    fields.Bool("echo", &echo);
    if (echo) fields.Fail("echo", "is not supported");
    std::string suffix;
    fields.String("suffix", &suffix);
    if (!suffix.empty()) fields.Fail("suffix", "is not supported");
    int64_t best_of = request.n;
    fields.Int("best_of", 1, kMaxChoices, &best_of);
    if (best_of != request.n) fields.Fail("best_of", "is not supported other than equal to 'n'");
    return;
  }
  const nlohmann::json* format = fields.Find("response_format");
  if (format != nullptr && (!format->contains("type") || (*format)["type"] != "text")) {
    fields.Fail("response_format", "is not supported other than {\"type\": \"text\"}");
  }
  const nlohmann::json* choice = fields.Find("tool_choice");
  const bool tools_off = choice != nullptr && *choice == "none";
  for (const char* name : {"tools", "functions"}) {
    const nlohmann::json* tools = fields.Find(name);
    if (tools == nullptr) continue;
    if (!tools->is_array()) {
      fields.Fail(name, "must be a list, got " + JsonKind(*tools));
    } else if (!tools->empty() && !tools_off) {
      fields.Fail(name, "is not supported");
    }
  }
}

}  // namespace

void ReadCacheSalt(FieldReader& fields, std::string* out) {
  fields.String("cache_salt", out);
  if (out->size() > kMaxCacheSalt) {
    fields.Fail("cache_salt", absl::StrCat("must have at most ", kMaxCacheSalt, " bytes"));
  }
}

std::optional<ApiError> ParseOpenAiRequest(OpenAiApi api, const nlohmann::json& body,
                                           const ModelInfo& model, OpenAiRequest* out) {
  FieldReader fields(body);
  out->api = api;
  fields.String("model", &out->model);
  if (api == OpenAiApi::kChat) {
    ReadMessages(fields, &out->messages);
  } else {
    ReadPrompts(fields, model, &out->prompts);
  }
  const int64_t prompts = std::max<int64_t>(1, static_cast<int64_t>(out->prompts.size()));
  int64_t n = 1;
  fields.Int("n", 1, kMaxChoices, &n);
  if (n * prompts > kMaxChoices) {
    fields.Fail("n", absl::StrCat("times the number of prompts is over ", kMaxChoices));
  }
  out->n = static_cast<int>(n);
  ReadSampling(fields, model, out);
  ReadStopRules(fields, model, &out->generate.stop);
  ReadLogprobs(fields, out);
  ReadStream(fields, out);
  fields.Bool("skip_special_tokens", &out->generate.skip_special_tokens);
  ReadCacheSalt(fields, &out->generate.cache_salt);
  fields.String("user", &out->generate.client);
  if (out->generate.client.size() > kMaxClient) {
    fields.Fail("user", absl::StrCat("must have at most ", kMaxClient, " bytes"));
  }
  int64_t priority = 0;
  fields.Int("priority", -kMaxPriority, kMaxPriority, &priority);
  out->generate.priority = static_cast<int32_t>(priority);
  ReadTimeout(fields, &out->generate);
  ReadSkip(fields, model, &out->generate);
  RefuseUnsupported(fields, *out);
  return fields.error();
}

}  // namespace skipserve
