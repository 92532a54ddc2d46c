// Figures come from files, so every error names the field.
#include "engine/skip/level_figures.h"

#include <algorithm>
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

constexpr int64_t kMaxCount = 1 << 30;
constexpr size_t kMaxEntries = 64;
constexpr size_t kMaxTaskBytes = 128;
constexpr size_t kMaxMeasuredOnBytes = 512;

template <typename T>
struct Field {
  const char* name;
  T LengthFigures::*member;
};
constexpr Field<int64_t> kCounts[] = {{"prompt_tokens", &LengthFigures::prompt_tokens},
                                      {"cases", &LengthFigures::cases},
                                      {"facts_found", &LengthFigures::facts_found},
                                      {"facts_asked", &LengthFigures::facts_asked}};
constexpr Field<double> kMeans[] = {{"flop_bound", &LengthFigures::flop_bound},
                                    {"kl", &LengthFigures::kl},
                                    {"agreement", &LengthFigures::agreement}};

absl::Status FieldError(absl::string_view field, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("figures: \"", field, "\" ", what));
}

std::string At(absl::string_view field, size_t i) { return absl::StrCat(field, "[", i, "]"); }

absl::Status CheckLength(const LengthFigures& l, int64_t longer_than, const std::string& at) {
  const auto error = [&](absl::string_view name, absl::string_view what) {
    return FieldError(absl::StrCat(at, ".", name), what);
  };
  for (const auto& field : kCounts) {
    const int64_t count = l.*field.member;
    if (count < 0 || count > kMaxCount) {
      return error(field.name, absl::StrCat("must be from 0 to 2^30; it is ", count));
    }
  }
  for (const auto& field : kMeans) {
    const double mean = l.*field.member;
    if (!std::isfinite(mean) || mean < 0) {
      return error(field.name, absl::StrCat("must be a finite number, not below 0; it is ", mean));
    }
  }
  if (l.prompt_tokens <= longer_than) {
    return error("prompt_tokens", absl::StrCat("must be above ", longer_than,
                                               " (lengths ascend); it is ", l.prompt_tokens));
  }
  if (l.cases < 1) return error("cases", "must be at least 1");
  if (l.flop_bound <= 0) return error("flop_bound", "must be above 0");
  if (l.agreement > 1) return error("agreement", absl::StrCat("is above 1: ", l.agreement));
  if (l.facts_found > l.facts_asked) {
    return error("facts_found",
                 absl::StrCat("is ", l.facts_found, " of only ", l.facts_asked, " asked for"));
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> ReadCount(const Json& json, absl::string_view field) {
  if (!json.is_number_integer()) return FieldError(field, "must be a whole number");
  if (json.is_number_unsigned()) {
    return static_cast<int64_t>(
        std::min<uint64_t>(json.get<uint64_t>(), std::numeric_limits<int64_t>::max()));
  }
  return json.get<int64_t>();
}

absl::StatusOr<double> ReadMean(const Json& json, absl::string_view field) {
  if (!json.is_number()) return FieldError(field, "must be a number");
  return json.get<double>();
}

// Reads the fields of an object, each of which must be there; Finish refuses any other.
class Reader {
 public:
  Reader(const Json& json, std::string at) : json_(json), at_(std::move(at)) {}

  template <typename Read>
  auto Get(const char* name, Read read) -> decltype(read(Json(), absl::string_view())) {
    known_.push_back(name);
    const std::string field = Path(name);
    const auto it = json_.find(name);
    if (it == json_.end()) return FieldError(field, "is missing");
    return read(*it, field);
  }

  // After all have been read.
  absl::Status Finish() const {
    for (const auto& item : json_.items()) {
      if (std::find(known_.begin(), known_.end(), item.key()) != known_.end()) continue;
      return FieldError(Path(absl::CHexEscape(item.key().substr(0, 64))), "is not known");
    }
    return absl::OkStatus();
  }

 private:
  std::string Path(absl::string_view name) const {
    return at_.empty() ? std::string(name) : absl::StrCat(at_, ".", name);
  }

  const Json& json_;
  const std::string at_;
  std::vector<absl::string_view> known_;
};

absl::StatusOr<LengthFigures> ReadLength(const Json& json, absl::string_view at) {
  if (!json.is_object()) return FieldError(at, "must be an object");
  LengthFigures figures;
  Reader reader(json, std::string(at));
  for (const auto& field : kCounts) {
    ASSIGN_OR_RETURN(figures.*field.member, reader.Get(field.name, ReadCount));
  }
  for (const auto& field : kMeans) {
    ASSIGN_OR_RETURN(figures.*field.member, reader.Get(field.name, ReadMean));
  }
  RETURN_IF_ERROR(reader.Finish());
  return figures;
}

absl::StatusOr<std::string> ReadText(const Json& json, absl::string_view field) {
  if (!json.is_string()) return FieldError(field, "must be a text");
  return json.get<std::string>();
}

template <typename T, typename Read>
absl::StatusOr<std::vector<T>> ReadList(const Json& json, absl::string_view field, Read read) {
  if (!json.is_array()) return FieldError(field, "must be a list");
  if (json.size() > kMaxEntries) {
    return FieldError(field, absl::StrCat("has more than ", kMaxEntries, " entries"));
  }
  std::vector<T> out;
  for (const Json& item : json) {
    ASSIGN_OR_RETURN(T value, read(item, At(field, out.size())));
    out.push_back(std::move(value));
  }
  return out;
}

}  // namespace

const LengthFigures* LevelFigures::Near(int64_t prompt_tokens) const {
  const auto distance = [&](const LengthFigures& l) {
    return std::abs(std::log(static_cast<double>(std::max<int64_t>(prompt_tokens, 1)) /
                             static_cast<double>(l.prompt_tokens)));
  };
  const auto nearest =
      std::min_element(lengths.begin(), lengths.end(),
                       [&](const auto& a, const auto& b) { return distance(a) < distance(b); });
  return nearest == lengths.end() ? nullptr : &*nearest;
}

absl::Status ValidateFigures(const LevelFigures& figures) {
  if (!figures.measured()) {
    return figures == LevelFigures() ? absl::OkStatus()
                                     : FieldError("lengths", "is empty beside other figures");
  }
  if (figures.lengths.size() > kMaxEntries) {
    return FieldError("lengths", absl::StrCat("has more than ", kMaxEntries, " entries"));
  }
  int64_t longer_than = 0;
  for (size_t i = 0; i < figures.lengths.size(); ++i) {
    RETURN_IF_ERROR(CheckLength(figures.lengths[i], longer_than, At("lengths", i)));
    longer_than = figures.lengths[i].prompt_tokens;
  }
  if (figures.weak_tasks.size() > kMaxEntries) {
    return FieldError("weak_tasks", absl::StrCat("has more than ", kMaxEntries, " entries"));
  }
  for (size_t i = 0; i < figures.weak_tasks.size(); ++i) {
    const size_t bytes = figures.weak_tasks[i].size();
    if (bytes < 1 || bytes > kMaxTaskBytes) {
      return FieldError(At("weak_tasks", i),
                        absl::StrCat("must have 1 to ", kMaxTaskBytes, " bytes; it has ", bytes));
    }
  }
  if (figures.measured_on.size() > kMaxMeasuredOnBytes) {
    return FieldError("measured_on", absl::StrCat("must have at most ", kMaxMeasuredOnBytes,
                                                  " bytes; it has ", figures.measured_on.size()));
  }
  return absl::OkStatus();
}

absl::StatusOr<LevelFigures> FiguresFromJson(const Json& json) {
  if (!json.is_object()) return absl::InvalidArgumentError("figures: must be a JSON object");
  LevelFigures figures;
  Reader reader(json, "");
  ASSIGN_OR_RETURN(figures.lengths, reader.Get("lengths", [](const Json& list, auto field) {
    return ReadList<LengthFigures>(list, field, ReadLength);
  }));
  ASSIGN_OR_RETURN(figures.weak_tasks, reader.Get("weak_tasks", [](const Json& list, auto field) {
    return ReadList<std::string>(list, field, ReadText);
  }));
  ASSIGN_OR_RETURN(figures.measured_on, reader.Get("measured_on", ReadText));
  RETURN_IF_ERROR(reader.Finish());
  if (!figures.measured()) return FieldError("lengths", "is empty");
  RETURN_IF_ERROR(ValidateFigures(figures));
  return figures;
}

Json FiguresToJson(const LevelFigures& figures) {
  Json lengths = Json::array();
  for (const LengthFigures& l : figures.lengths) {
    Json& out = lengths.emplace_back();
    for (const auto& field : kCounts) out[field.name] = l.*field.member;
    for (const auto& field : kMeans) out[field.name] = l.*field.member;
  }
  return {{"lengths", std::move(lengths)},
          {"weak_tasks", figures.weak_tasks},
          {"measured_on", figures.measured_on}};
}

}  // namespace skipserve
