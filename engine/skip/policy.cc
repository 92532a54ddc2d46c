// Checks of a policy and its JSON form: everything here can come from a client or a file, so every
// error names the field. Not the plan: what the sizes mean for one prompt is decided there.
#include "engine/skip/policy.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/status_macros.h"
#include "nlohmann/json.hpp"

namespace skipserve {
namespace {

using Json = nlohmann::json;

constexpr double kMaxCount = 1 << 30;
constexpr int64_t kMaxAlways = 65536;
constexpr int32_t kMaxPool = 255;
constexpr size_t kMaxStages = 4096;

absl::Status FieldError(absl::string_view field, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("skip policy: \"", field, "\" ", what));
}

std::string At(absl::string_view field, size_t i) { return absl::StrCat(field, "[", i, "]"); }

// A size above zero: a fraction below 1.0 or a whole count.
absl::Status CheckSize(absl::string_view field, double size) {
  if (!std::isfinite(size) || size <= 0 || size > kMaxCount) {
    return FieldError(field, absl::StrCat("must be a fraction of the prompt above 0 and below 1, "
                                          "or a count of 1 to 2^30 tokens; it is ",
                                          size));
  }
  if (size >= 1.0 && size != std::floor(size)) {
    return FieldError(field, absl::StrCat("is ", size,
                                          "; sizes of 1 and more are counts of "
                                          "tokens and must be whole"));
  }
  return absl::OkStatus();
}

absl::Status CheckStages(const SkipPolicy& p, int32_t layers) {
  if (p.start < 0 || p.start >= layers) {
    return FieldError("start",
                      absl::StrCat("must be a layer from 0 to ", layers - 1, "; it is ", p.start));
  }
  if (p.stage_ends.empty() || p.stage_ends.size() > kMaxStages) {
    return FieldError("stage_ends", absl::StrCat("must name 1 to ", kMaxStages, " layers; it has ",
                                                 p.stage_ends.size()));
  }
  for (size_t i = 0; i < p.stage_ends.size(); ++i) {
    const int32_t least = i == 0 ? p.start : p.stage_ends[i - 1] + 1;
    if (p.stage_ends[i] < least || p.stage_ends[i] >= layers) {
      return FieldError(At("stage_ends", i), absl::StrCat("must be a layer from ", least,
                                                          " (stages ascend from \"start"
                                                          "\") to ",
                                                          layers - 1, "; it is ", p.stage_ends[i]));
    }
  }
  for (const auto& [field, sizes] :
       {std::pair{"budgets", &p.budgets}, std::pair{"keeps", &p.keeps}}) {
    if (sizes->size() != p.stage_ends.size()) {
      return FieldError(field, absl::StrCat("must have one size per stage: it has ", sizes->size(),
                                            ", \"stage_ends\" ", p.stage_ends.size()));
    }
  }
  for (size_t i = 0; i < p.stage_ends.size(); ++i) {
    RETURN_IF_ERROR(CheckSize(At("budgets", i), p.budgets[i]));
    RETURN_IF_ERROR(CheckSize(At("keeps", i), std::abs(p.keeps[i])));
  }
  return absl::OkStatus();
}

// JSON numbers may come from protobuf's Struct, which knows only doubles: 16.0 is an integer.
absl::StatusOr<int64_t> ReadInteger(const Json& json, absl::string_view field) {
  const auto error = [&] { return FieldError(field, "must be a whole number"); };
  if (json.is_number_unsigned()) {
    const uint64_t value = json.get<uint64_t>();
    if (value > uint64_t{std::numeric_limits<int64_t>::max()}) return error();
    return static_cast<int64_t>(value);
  }
  if (json.is_number_integer()) return json.get<int64_t>();
  if (!json.is_number_float()) return error();
  const double value = json.get<double>();
  if (!(std::abs(value) <= 1e15) || value != std::floor(value)) return error();
  return static_cast<int64_t>(value);
}

absl::StatusOr<int32_t> ReadInt32(const Json& json, absl::string_view field) {
  ASSIGN_OR_RETURN(const int64_t value, ReadInteger(json, field));
  constexpr int64_t kMax = std::numeric_limits<int32_t>::max();
  if (value < -kMax || value > kMax) return FieldError(field, "is out of range");
  return static_cast<int32_t>(value);
}

absl::StatusOr<double> ReadSize(const Json& json, absl::string_view field) {
  if (!json.is_number()) return FieldError(field, "must be a number");
  return json.get<double>();
}

template <typename T, typename Read>
absl::StatusOr<std::vector<T>> ReadList(const Json& json, absl::string_view field, Read read) {
  if (!json.is_array()) return FieldError(field, "must be a list of numbers");
  if (json.size() > kMaxStages) {
    return FieldError(field, absl::StrCat("has more than ", kMaxStages, " entries"));
  }
  std::vector<T> out;
  for (const Json& item : json) {
    ASSIGN_OR_RETURN(const T value, read(item, At(field, out.size())));
    out.push_back(value);
  }
  return out;
}

template <typename T>
struct Choice {
  absl::string_view name;
  T value;
};
constexpr std::array<Choice<Reduce>, 2> kReduces = {
    {{"mean", Reduce::kMean}, {"max", Reduce::kMax}}};
constexpr std::array<Choice<FfnScore>, 3> kFfnScores = {{{"product", FfnScore::kProduct},
                                                         {"attention", FfnScore::kAttention},
                                                         {"exact", FfnScore::kExact}}};
constexpr std::array<Choice<bool>, 2> kReadings = {{{"keep", false}, {"drop", true}}};

template <typename T, size_t N>
absl::StatusOr<T> ReadChoice(const Json& json, absl::string_view field,
                             const std::array<Choice<T>, N>& choices) {
  std::string names;
  for (const Choice<T>& choice : choices) {
    if (json.is_string() && json.get_ref<const std::string&>() == choice.name) return choice.value;
    absl::StrAppend(&names, names.empty() ? "\"" : ", \"", choice.name, "\"");
  }
  return FieldError(field, absl::StrCat("must be one of ", names));
}

template <typename T, size_t N>
std::string NameOf(T value, const std::array<Choice<T>, N>& choices) {
  for (const Choice<T>& choice : choices) {
    if (choice.value == value) return std::string(choice.name);
  }
  return "";
}

absl::StatusOr<std::vector<double>> KeepsFromCut(const SkipPolicy& p, double cut, bool drop) {
  RETURN_IF_ERROR(CheckSize("cut", cut));
  std::vector<double> keeps;
  for (size_t i = 0; i < p.budgets.size(); ++i) {
    const double dropped = cut * static_cast<double>(i + 1);
    if (!drop && (cut < 1.0) != (p.budgets[i] < 1.0)) {
      return FieldError("cut", "and \"budgets\" must be both counts or both fractions");
    }
    keeps.push_back(!drop ? p.budgets[i] - cut : cut < 1.0 ? 1.0 - dropped : -dropped);
    if ((cut < 1.0 || !drop) ? keeps.back() <= 0 : dropped > kMaxCount) {
      return FieldError("cut", absl::StrCat("leaves nothing after stage ", i));
    }
  }
  return keeps;
}

Json SizesToJson(const std::vector<double>& sizes) {
  Json out = Json::array();
  for (const double size : sizes) {
    const bool count = std::abs(size) >= 1.0 && std::abs(size) <= kMaxCount;
    out.push_back(count ? Json(static_cast<int64_t>(size)) : Json(size));
  }
  return out;
}

absl::Status ReadField(const std::string& name, const Json& json, SkipPolicy& p) {
  if (name == "start") {
    ASSIGN_OR_RETURN(p.start, ReadInt32(json, name));
  } else if (name == "stage_ends") {
    ASSIGN_OR_RETURN(p.stage_ends, ReadList<int32_t>(json, name, ReadInt32));
  } else if (name == "budgets") {
    ASSIGN_OR_RETURN(p.budgets, ReadList<double>(json, name, ReadSize));
  } else if (name == "keeps") {
    ASSIGN_OR_RETURN(p.keeps, ReadList<double>(json, name, ReadSize));
  } else if (name == "sink") {
    ASSIGN_OR_RETURN(p.sink, ReadInteger(json, name));
  } else if (name == "recent") {
    ASSIGN_OR_RETURN(p.recent, ReadInteger(json, name));
  } else if (name == "window") {
    ASSIGN_OR_RETURN(p.window, ReadInt32(json, name));
  } else if (name == "window_reduce") {
    ASSIGN_OR_RETURN(p.window_reduce, ReadChoice(json, name, kReduces));
  } else if (name == "head_reduce") {
    ASSIGN_OR_RETURN(p.head_reduce, ReadChoice(json, name, kReduces));
  } else if (name == "pool") {
    ASSIGN_OR_RETURN(p.pool, ReadInt32(json, name));
  } else if (name == "probe_layers") {
    ASSIGN_OR_RETURN(p.probe_layers, ReadList<int32_t>(json, name, ReadInt32));
  } else if (name == "memory") {
    ASSIGN_OR_RETURN(p.memory, ReadSize(json, name));
  } else if (name == "ffn_score") {
    ASSIGN_OR_RETURN(p.ffn_score, ReadChoice(json, name, kFfnScores));
  } else if (name != "cut" && name != "cut_reading") {
    return FieldError(absl::CHexEscape(name.substr(0, 64)), "is not a field of a skip policy");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidatePolicy(const SkipPolicy& p, int32_t layers) {
  RETURN_IF_ERROR(CheckStages(p, layers));
  for (const auto& [field, value] : {std::pair{"sink", p.sink}, std::pair{"recent", p.recent}}) {
    if (value < 0 || value > kMaxAlways) {
      return FieldError(field, absl::StrCat("must be from 0 to ", kMaxAlways, "; it is ", value));
    }
  }
  if (p.window < 1 || p.window > kMaxProbeWindow) {
    return FieldError("window",
                      absl::StrCat("must be from 1 to ", kMaxProbeWindow, "; it is ", p.window));
  }
  if (p.pool < 1 || p.pool > kMaxPool || p.pool % 2 == 0) {
    return FieldError("pool",
                      absl::StrCat("must be odd, from 1 to ", kMaxPool, "; it is ", p.pool));
  }
  for (size_t i = 0; i < p.probe_layers.size(); ++i) {
    const int32_t least = i == 0 ? p.start : p.probe_layers[i - 1] + 1;
    const bool first = i == 0 && p.probe_layers[i] != p.start;
    if (first || p.probe_layers[i] < least || p.probe_layers[i] >= layers) {
      return FieldError(
          At("probe_layers", i),
          absl::StrCat("must be ", i == 0 ? "\"start\"" : "a layer above the one before",
                       " and below ", layers, "; it is ", p.probe_layers[i]));
    }
  }
  if (!(p.memory >= 0 && p.memory <= 1)) {
    return FieldError("memory", absl::StrCat("must be from 0 to 1; it is ", p.memory));
  }
  return absl::OkStatus();
}

int64_t ResolveSize(double size, int64_t prompt_tokens) {
  if (size < 0) return std::max<int64_t>(1, prompt_tokens - ResolveSize(-size, prompt_tokens));
  const double prompt = static_cast<double>(prompt_tokens);
  const double tokens = size < 1.0 ? size * prompt : std::min(size, prompt);
  return std::clamp<int64_t>(std::llround(tokens), 1, prompt_tokens);
}

absl::StatusOr<SkipPolicy> PolicyFromJson(const Json& json) {
  if (!json.is_object()) return absl::InvalidArgumentError("skip policy: must be a JSON object");
  SkipPolicy p;
  for (const auto& item : json.items()) RETURN_IF_ERROR(ReadField(item.key(), item.value(), p));
  for (const char* field : {"start", "stage_ends", "budgets"}) {
    if (!json.contains(field)) return FieldError(field, "is missing");
  }
  const bool has_cut = json.contains("cut");
  if (json.contains("keeps") && has_cut) {
    return FieldError("cut", "cannot stand beside \"keeps\": give one of the two");
  }
  if (json.contains("cut_reading") && !has_cut) return FieldError("cut_reading", "needs \"cut\"");
  if (has_cut) {
    ASSIGN_OR_RETURN(const double cut, ReadSize(json.at("cut"), "cut"));
    bool drop = false;
    if (const auto reading = json.find("cut_reading"); reading != json.end()) {
      ASSIGN_OR_RETURN(drop, ReadChoice(*reading, "cut_reading", kReadings));
    }
    ASSIGN_OR_RETURN(p.keeps, KeepsFromCut(p, cut, drop));
  } else if (!json.contains("keeps")) {
    return FieldError("keeps", "is missing (or give \"cut\")");
  }
  RETURN_IF_ERROR(ValidatePolicy(p, std::numeric_limits<int32_t>::max()));
  return p;
}

Json PolicyToJson(const SkipPolicy& p) {
  return {{"start", p.start},
          {"stage_ends", p.stage_ends},
          {"budgets", SizesToJson(p.budgets)},
          {"keeps", SizesToJson(p.keeps)},
          {"sink", p.sink},
          {"recent", p.recent},
          {"window", p.window},
          {"window_reduce", NameOf(p.window_reduce, kReduces)},
          {"head_reduce", NameOf(p.head_reduce, kReduces)},
          {"pool", p.pool},
          {"probe_layers", p.probe_layers},
          {"memory", p.memory},
          {"ffn_score", NameOf(p.ffn_score, kFfnScores)}};
}

}  // namespace skipserve
