// From the wire; see convert_proto.h.
#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/status_macros.h"
#include "server/convert_proto.h"
#include "server/prompt.h"
#include "server/request_limits.h"

namespace skipserve {
namespace {

absl::Status Bad(absl::string_view field, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(field, " ", what));
}

// Also refuses NaN, which is in no range.
template <typename Number>
absl::Status CheckRange(absl::string_view field, Number value, Number min, Number max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return Bad(field, absl::StrCat("must be from ", min, " to ", max, "; it is ", value));
}

absl::Status CheckAboveZero(absl::string_view field, float value, float max) {
  if (value > 0 && value <= max) return absl::OkStatus();
  return Bad(field, absl::StrCat("must be above 0 and at most ", max, "; it is ", value));
}

absl::StatusOr<SamplingParams> SamplingFromProto(const v1::Sampling& proto, int32_t vocab_size) {
  SamplingParams out;
  if (proto.has_temperature()) out.temperature = proto.temperature();
  if (proto.has_top_p()) out.top_p = proto.top_p();
  if (proto.has_repetition_penalty()) out.repetition_penalty = proto.repetition_penalty();
  out.top_k = proto.top_k();
  out.min_p = proto.min_p();
  out.presence_penalty = proto.presence_penalty();
  out.frequency_penalty = proto.frequency_penalty();
  out.seed = proto.seed();
  RETURN_IF_ERROR(CheckRange("sampling.temperature", out.temperature, 0.f, 2.f));
  RETURN_IF_ERROR(CheckRange<int64_t>("sampling.top_k", out.top_k, 0, kMaxCount));
  RETURN_IF_ERROR(CheckRange("sampling.top_p", out.top_p, 0.f, 1.f));
  RETURN_IF_ERROR(CheckRange("sampling.min_p", out.min_p, 0.f, 1.f));
  RETURN_IF_ERROR(CheckAboveZero("sampling.repetition_penalty", out.repetition_penalty, 100));
  RETURN_IF_ERROR(CheckRange("sampling.presence_penalty", out.presence_penalty, -2.f, 2.f));
  RETURN_IF_ERROR(CheckRange("sampling.frequency_penalty", out.frequency_penalty, -2.f, 2.f));
  if (proto.logit_bias().size() > kMaxTokenRules) {
    return Bad("sampling.logit_bias", absl::StrCat("has more than ", kMaxTokenRules, " entries"));
  }
  for (const auto& [id, bias] : proto.logit_bias()) {
    RETURN_IF_ERROR(CheckTokenIds({&id, 1}, "sampling.logit_bias", vocab_size));
    RETURN_IF_ERROR(CheckRange("sampling.logit_bias", bias, -100.f, 100.f));
    out.logit_bias.emplace_back(id, bias);
  }
  // A map on the wire has no order; the same request is to be the same request.
  std::sort(out.logit_bias.begin(), out.logit_bias.end());
  return out;
}

absl::StatusOr<StopRules> StopFromProto(const v1::StopRules& proto, int32_t vocab_size) {
  StopRules out;
  if (proto.has_max_tokens()) {
    RETURN_IF_ERROR(CheckRange<int64_t>("stop.max_tokens", proto.max_tokens(), 1, kMaxCount));
    out.max_tokens = proto.max_tokens();
  }
  out.min_tokens = proto.min_tokens();
  RETURN_IF_ERROR(CheckRange<int64_t>("stop.min_tokens", out.min_tokens, 0,
                                      out.max_tokens > 0 ? out.max_tokens : kMaxCount));
  out.ignore_eos = proto.ignore_eos();
  if (proto.strings().size() > static_cast<int>(kMaxStops)) {
    return Bad("stop.strings", absl::StrCat("has more than ", kMaxStops, " entries"));
  }
  for (const std::string& text : proto.strings()) {
    if (text.empty() || text.size() > kMaxStopBytes) {
      return Bad("stop.strings", absl::StrCat("must have 1 to ", kMaxStopBytes, " bytes each"));
    }
    out.strings.push_back(text);
  }
  if (proto.token_ids().size() > static_cast<int>(kMaxTokenRules)) {
    return Bad("stop.token_ids", absl::StrCat("has more than ", kMaxTokenRules, " entries"));
  }
  RETURN_IF_ERROR(CheckTokenIds(proto.token_ids(), "stop.token_ids", vocab_size));
  out.token_ids.assign(proto.token_ids().begin(), proto.token_ids().end());
  return out;
}

}  // namespace

absl::StatusOr<SkipRequest> SkipFromProto(const v1::Skip& proto, const ModelInfo& model) {
  SkipRequest out;
  switch (proto.how_case()) {
    case v1::Skip::kMode:
      if (!v1::Skip::Mode_IsValid(proto.mode())) return Bad("skip.mode", "is unknown");
      if (proto.mode() == v1::Skip::MODE_OFF) out.mode = SkipRequest::Mode::kOff;
      break;
    case v1::Skip::kLevel: {
      out.mode = SkipRequest::Mode::kLevel;
      out.level = proto.level();
      std::vector<std::string> names;
      for (const SkipLevelInfo& level : model.skip_levels) names.push_back(level.name);
      if (std::find(names.begin(), names.end(), out.level) == names.end()) {
        return Bad("skip.level", names.empty() ? "cannot be given: this model has no levels"
                                               : "must be one of this model's levels: " +
                                                     absl::StrJoin(names, ", "));
      }
      break;
    }
    case v1::Skip::kPolicy: {
      out.mode = SkipRequest::Mode::kPolicy;
      ASSIGN_OR_RETURN(out.policy, PolicyFromProto(proto.policy(), model.config.layers));
      break;
    }
    case v1::Skip::HOW_NOT_SET:
      break;
  }
  return out;
}

absl::StatusOr<std::string> CacheSaltFromProto(const std::string& salt) {
  if (salt.size() <= kMaxCacheSalt) return salt;
  return Bad("cache_salt", absl::StrCat("must have at most ", kMaxCacheSalt, " bytes"));
}

absl::StatusOr<GenerateRequest> RequestFromProto(const v1::GenerateRequest& proto,
                                                 const ModelInfo& model) {
  const int32_t vocab_size = model.config.vocab_size;
  GenerateRequest out;
  ASSIGN_OR_RETURN(out.sampling, SamplingFromProto(proto.sampling(), vocab_size));
  ASSIGN_OR_RETURN(out.stop, StopFromProto(proto.stop(), vocab_size));
  ASSIGN_OR_RETURN(out.skip, SkipFromProto(proto.skip(), model));
  if (proto.has_logprobs()) {
    RETURN_IF_ERROR(CheckRange<int64_t>("logprobs", proto.logprobs(), 0, kMaxLogprobs));
    out.logprobs = proto.logprobs();
  }
  if (proto.user().size() > kMaxClient) {
    return Bad("user", absl::StrCat("must have at most ", kMaxClient, " bytes"));
  }
  out.client = proto.user();
  out.priority = proto.priority();
  ASSIGN_OR_RETURN(out.cache_salt, CacheSaltFromProto(proto.cache_salt()));
  out.layer_report = proto.report().layers();
  out.row_report = proto.report().rows();
  out.skip_special_tokens = !proto.show_special_tokens();
  return out;
}

absl::StatusOr<int> ChoicesFromProto(const v1::GenerateRequest& proto) {
  if (!proto.has_n()) return 1;
  RETURN_IF_ERROR(CheckRange<int64_t>("n", proto.n(), 1, kMaxChoices));
  return proto.n();
}

}  // namespace skipserve
