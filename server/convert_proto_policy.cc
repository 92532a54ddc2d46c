// Skip policies to and from the wire, by way of their JSON form, whose reader checks every field;
// see convert_proto.h.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "engine/status_macros.h"
#include "nlohmann/json.hpp"
#include "server/convert_proto.h"

namespace skipserve {
namespace {

using Json = nlohmann::json;

// Values of an enum by their names in JSON; 0 is the field's default and left out.
absl::Status PutEnum(const char* field, int value, std::initializer_list<const char*> names,
                     Json* json) {
  if (value == 0) return absl::OkStatus();
  if (value < 0 || value > static_cast<int>(names.size())) {
    return absl::InvalidArgumentError(absl::StrCat(field, " has the unknown value ", value));
  }
  (*json)[field] = names.begin()[value - 1];
  return absl::OkStatus();
}

// JSON has no NaN, so it must be caught before.
absl::Status PutSizes(const char* field, const google::protobuf::RepeatedField<double>& sizes,
                      Json* json) {
  Json list = Json::array();
  for (int i = 0; i < sizes.size(); ++i) {
    if (!std::isfinite(sizes[i])) {
      return absl::InvalidArgumentError(absl::StrCat(field, "[", i, "] must be a finite number"));
    }
    list.push_back(sizes[i]);
  }
  (*json)[field] = std::move(list);
  return absl::OkStatus();
}

absl::StatusOr<Json> ToJson(const v1::SkipPolicy& proto) {
  Json json;
  json["start"] = proto.start();
  json["stage_ends"] = Json(proto.stage_ends());
  RETURN_IF_ERROR(PutSizes("budgets", proto.budgets(), &json));
  if (!proto.has_cut() || !proto.keeps().empty()) {
    RETURN_IF_ERROR(PutSizes("keeps", proto.keeps(), &json));
  }
  if (proto.has_cut()) {
    if (!std::isfinite(proto.cut())) {
      return absl::InvalidArgumentError("cut must be a finite number");
    }
    json["cut"] = proto.cut();
  }
  RETURN_IF_ERROR(PutEnum("cut_reading", proto.cut_reading(), {"keep", "drop"}, &json));
  if (proto.has_sink()) json["sink"] = proto.sink();
  if (proto.has_recent()) json["recent"] = proto.recent();
  if (proto.has_window()) json["window"] = proto.window();
  if (proto.has_pool()) json["pool"] = proto.pool();
  json["probe_layers"] = Json(proto.probe_layers());
  if (!std::isfinite(proto.memory())) {
    return absl::InvalidArgumentError("memory must be a finite number");
  }
  json["memory"] = proto.memory();
  RETURN_IF_ERROR(PutEnum("window_reduce", proto.window_reduce(), {"mean", "max"}, &json));
  RETURN_IF_ERROR(PutEnum("head_reduce", proto.head_reduce(), {"mean", "max"}, &json));
  RETURN_IF_ERROR(
      PutEnum("ffn_score", proto.ffn_score(), {"product", "attention", "exact"}, &json));
  return json;
}

absl::Status AtPolicy(const absl::Status& status) {
  return absl::InvalidArgumentError(
      absl::StrCat("skip.policy: ", absl::StripPrefix(status.message(), "skip policy: ")));
}

v1::SkipPolicy::Reduce ToProto(Reduce reduce) {
  return reduce == Reduce::kMax ? v1::SkipPolicy::REDUCE_MAX : v1::SkipPolicy::REDUCE_MEAN;
}

}  // namespace

absl::StatusOr<SkipPolicy> PolicyFromProto(const v1::SkipPolicy& proto, int32_t layers) {
  const absl::StatusOr<Json> json = ToJson(proto);
  if (!json.ok()) return AtPolicy(json.status());
  absl::StatusOr<SkipPolicy> policy = PolicyFromJson(*json);
  if (!policy.ok()) return AtPolicy(policy.status());
  const absl::Status valid = ValidatePolicy(*policy, layers);
  if (!valid.ok()) return AtPolicy(valid);
  return policy;
}

void PolicyToProto(const SkipPolicy& policy, v1::SkipPolicy* proto) {
  proto->set_start(policy.start);
  proto->mutable_stage_ends()->Assign(policy.stage_ends.begin(), policy.stage_ends.end());
  proto->mutable_budgets()->Assign(policy.budgets.begin(), policy.budgets.end());
  proto->mutable_keeps()->Assign(policy.keeps.begin(), policy.keeps.end());
  proto->set_sink(policy.sink);
  proto->set_recent(policy.recent);
  proto->set_window(policy.window);
  proto->set_window_reduce(ToProto(policy.window_reduce));
  proto->set_head_reduce(ToProto(policy.head_reduce));
  proto->set_pool(policy.pool);
  proto->mutable_probe_layers()->Assign(policy.probe_layers.begin(), policy.probe_layers.end());
  proto->set_memory(policy.memory);
  switch (policy.ffn_score) {
    case FfnScore::kProduct:
      proto->set_ffn_score(v1::SkipPolicy::FFN_SCORE_PRODUCT);
      break;
    case FfnScore::kAttention:
      proto->set_ffn_score(v1::SkipPolicy::FFN_SCORE_ATTENTION);
      break;
    case FfnScore::kExact:
      proto->set_ffn_score(v1::SkipPolicy::FFN_SCORE_EXACT);
      break;
  }
}

}  // namespace skipserve
