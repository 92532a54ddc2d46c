// The request's extension "skip":
//   "off" | "auto" | a level's name, or an object with one of "mode", "level", "policy" and, beside
//   it, "report": {"layers": bool, "rows": bool}.
// Unknown fields in here are errors, unlike elsewhere: a misspelt "level" must not end in another
// way of skipping.
#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/openai_fields.h"
#include "server/openai_request.h"

namespace skipserve {
namespace {

std::string LevelNames(const ModelInfo& model) {
  return absl::StrJoin(model.skip_levels, ", ", [](std::string* out, const SkipLevelInfo& level) {
    absl::StrAppend(out, level.name);
  });
}

void SetByName(FieldReader& fields, const std::string& path, const std::string& name,
               const ModelInfo& model, SkipRequest* out) {
  if (name == "off") {
    out->mode = SkipRequest::Mode::kOff;
  } else if (name == "auto") {
    out->mode = SkipRequest::Mode::kAuto;
  } else if (std::any_of(model.skip_levels.begin(), model.skip_levels.end(),
                         [&](const SkipLevelInfo& level) { return level.name == name; })) {
    out->mode = SkipRequest::Mode::kLevel;
    out->level = name;
  } else if (model.skip_levels.empty()) {
    fields.Fail(path, "must be off or auto; this model has no skip levels");
  } else {
    fields.Fail(path, "must be off, auto or one of this model's levels: " + LevelNames(model));
  }
}

void ReadMode(FieldReader& fields, FieldReader& skip, const ModelInfo& model, SkipRequest* out) {
  std::string mode = "auto";
  skip.String("mode", &mode);
  if (mode != "off" && mode != "auto") skip.Fail("mode", "must be off or auto");
  if (skip.ok()) SetByName(fields, "skip.mode", mode, model, out);
}

void ReadPolicy(FieldReader& skip, const nlohmann::json& json, const ModelInfo& model,
                SkipRequest* out) {
  absl::StatusOr<SkipPolicy> policy = PolicyFromJson(json);
  if (policy.ok()) {
    const absl::Status valid = ValidatePolicy(*policy, model.config.layers);
    if (!valid.ok()) policy = valid;
  }
  if (!policy.ok()) {
    return skip.Fail(BadParam("skip.policy", std::string(policy.status().message())));
  }
  out->mode = SkipRequest::Mode::kPolicy;
  out->policy = *std::move(policy);
}

void ReadReport(FieldReader& skip, const nlohmann::json& report, GenerateRequest* out) {
  if (!report.is_object()) return skip.Fail("report", "must be an object, got " + JsonKind(report));
  FieldReader inner(report, "skip.report.");
  inner.Bool("layers", &out->layer_report);
  inner.Bool("rows", &out->row_report);
  for (const auto& [name, value] : report.items()) {
    if (name != "layers" && name != "rows") inner.Fail(name.substr(0, 40), "is unknown");
  }
  if (!inner.ok()) skip.Fail(*inner.error());
}

void ReadSkipObject(FieldReader& fields, const nlohmann::json& value, const ModelInfo& model,
                    GenerateRequest* out) {
  FieldReader skip(value, "skip.");
  int ways = 0;
  for (const auto& [name, inner] : value.items()) {
    if (name == "mode" || name == "level" || name == "policy") {
      ways += inner.is_null() ? 0 : 1;
    } else if (name != "report") {
      skip.Fail(name.substr(0, 40), "is unknown");
    }
  }
  if (ways > 1) {
    skip.Fail(BadParam("skip", "'skip' takes one of 'mode', 'level' and 'policy', not several."));
  }
  if (skip.Find("level") != nullptr) {
    std::string level;
    skip.String("level", &level);
    if (skip.ok()) SetByName(fields, "skip.level", level, model, &out->skip);
  } else if (const nlohmann::json* policy = skip.Find("policy")) {
    ReadPolicy(skip, *policy, model, &out->skip);
  } else {
    ReadMode(fields, skip, model, &out->skip);
  }
  if (const nlohmann::json* report = skip.Find("report")) ReadReport(skip, *report, out);
  if (!skip.ok()) fields.Fail(*skip.error());
}

}  // namespace

void ReadSkip(FieldReader& fields, const ModelInfo& model, GenerateRequest* out) {
  const nlohmann::json* skip = fields.Find("skip");
  if (skip == nullptr) return;
  if (skip->is_string()) {
    SetByName(fields, "skip", *skip, model, &out->skip);
  } else if (skip->is_object()) {
    ReadSkipObject(fields, *skip, model, out);
  } else {
    fields.Fail("skip", "must be a string or an object, got " + JsonKind(*skip));
  }
}

}  // namespace skipserve
