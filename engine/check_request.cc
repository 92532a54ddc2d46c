#include "engine/check_request.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

constexpr int32_t kMaxLogprobs = 20;
constexpr size_t kMaxStopStrings = 64;
constexpr size_t kMaxStopTokens = 4096;

absl::Status CheckRange(const char* name, double value, double low, double high) {
  if (value >= low && value <= high) return absl::OkStatus();  // NaN fails too
  return absl::InvalidArgumentError(
      absl::StrCat(name, " is ", value, "; it must be from ", low, " to ", high));
}

absl::Status CheckLength(const char* name, const std::string& value, size_t most) {
  if (value.size() <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, " has ", value.size(), " bytes; it may have up to ", most));
}

absl::Status CheckSampling(const SamplingParams& s) {
  RETURN_IF_ERROR(CheckRange("temperature", s.temperature, 0, 100));
  RETURN_IF_ERROR(CheckRange("top_k", s.top_k, 0, 1e9));
  RETURN_IF_ERROR(CheckRange("top_p", s.top_p, 1e-9, 1));
  RETURN_IF_ERROR(CheckRange("min_p", s.min_p, 0, 1));
  RETURN_IF_ERROR(CheckRange("repetition_penalty", s.repetition_penalty, 1e-3, 1e3));
  RETURN_IF_ERROR(CheckRange("presence_penalty", s.presence_penalty, -100, 100));
  RETURN_IF_ERROR(CheckRange("frequency_penalty", s.frequency_penalty, -100, 100));
  for (const auto& [id, bias] : s.logit_bias)
    RETURN_IF_ERROR(CheckRange("logit_bias", bias, -1e4, 1e4));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<int64_t> CheckRequest(const GenerateRequest& request, const ModelInfo& info) {
  const int64_t prompt = static_cast<int64_t>(request.prompt.size());
  if (prompt == 0)
    return absl::InvalidArgumentError("the prompt is empty; it needs at least one token");
  if (prompt >= info.max_context) {
    return absl::InvalidArgumentError(
        absl::StrCat("the prompt has ", prompt, " tokens, but this server's context is ",
                     info.max_context, " tokens, prompt and answer together"));
  }
  for (int32_t id : request.prompt) {
    if (id < 0 || id >= info.config.vocab_size) {
      return absl::InvalidArgumentError(absl::StrCat(
          "prompt token ", id, " is outside the vocabulary of ", info.config.vocab_size));
    }
  }
  RETURN_IF_ERROR(CheckLength("cache_salt", request.cache_salt, kMaxCacheSalt));
  RETURN_IF_ERROR(CheckRange("priority", request.priority, -kMaxPriority, kMaxPriority));
  RETURN_IF_ERROR(CheckLength("the client's name", request.client, kMaxClient));
  RETURN_IF_ERROR(CheckSampling(request.sampling));
  RETURN_IF_ERROR(CheckRange("logprobs", request.logprobs, -1, kMaxLogprobs));
  if (request.stop.strings.size() > kMaxStopStrings ||
      request.stop.token_ids.size() > kMaxStopTokens) {
    return absl::InvalidArgumentError(absl::StrCat("at most ", kMaxStopStrings,
                                                   " stop strings and ", kMaxStopTokens,
                                                   " stop tokens are allowed"));
  }
  const int64_t room = info.max_context - prompt;
  if (request.stop.max_tokens < 0 || request.stop.max_tokens > room) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_tokens is ", request.stop.max_tokens, "; with a prompt of ", prompt,
                     " tokens it may be up to ", room, " (context ", info.max_context, ")"));
  }
  const int64_t max_tokens = request.stop.max_tokens > 0 ? request.stop.max_tokens
                                                         : std::min(info.default_max_tokens, room);
  if (request.stop.min_tokens < 0 || request.stop.min_tokens > max_tokens) {
    return absl::InvalidArgumentError(absl::StrCat("min_tokens is ", request.stop.min_tokens,
                                                   "; it may be up to max_tokens, ", max_tokens));
  }
  return max_tokens;
}

}  // namespace skipserve
