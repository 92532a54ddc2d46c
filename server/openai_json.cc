#include "server/openai_json.h"

#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace skipserve {
namespace {

// Counts brackets and commas outside strings. Runs before the parser, whose memory grows with both.
std::optional<ApiError> CheckShape(absl::string_view body, const JsonLimits& limits) {
  int depth = 0;
  size_t values = 0;
  bool in_string = false;
  for (size_t i = 0; i < body.size(); ++i) {
    const char c = body[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
      continue;
    }
    if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      ++values;
      if (++depth > limits.max_depth) {
        return BadParam(
            "", absl::StrCat("The body is nested deeper than ", limits.max_depth, " levels."));
      }
    } else if (c == ']' || c == '}') {
      --depth;
    } else if (c == ',') {
      ++values;
    }
    if (values > limits.max_values) {
      return BadParam(
          "", absl::StrCat("The body holds more than ", limits.max_values, " JSON values."));
    }
  }
  return std::nullopt;
}

ApiError ParseFailure(const std::string& field, absl::string_view what) {
  std::string message = "The body is not valid JSON";
  if (absl::StrContains(what, "UTF-8")) {
    message = "The body is not valid UTF-8";
  } else if (absl::StrContains(what, "number overflow")) {
    message = "The body holds a number that is too large";
  }
  if (!field.empty()) absl::StrAppend(&message, ", in or after the field '", field, "'");
  ApiError error = BadParam(field, absl::StrCat(message, "."));
  error.code = "invalid_json";
  return error;
}

}  // namespace

std::optional<ApiError> ParseJsonObject(absl::string_view body, nlohmann::json* out,
                                        const JsonLimits& limits) {
  if (auto error = CheckShape(body, limits)) return error;
  std::string field;  // the top-level field being read
  const auto note_field = [&field](int depth, nlohmann::json::parse_event_t event,
                                   nlohmann::json& value) {
    if (depth == 1 && event == nlohmann::json::parse_event_t::key) {
      field = value.get_ref<const std::string&>();
    }
    return true;
  };
  try {
    nlohmann::json json = nlohmann::json::parse(body.begin(), body.end(), note_field);
    if (!json.is_object()) return BadParam("", "The body must be a JSON object.");
    *out = std::move(json);
    return std::nullopt;
  } catch (const nlohmann::json::exception& e) {
    if (field.size() > 100) field.clear();
    return ParseFailure(field, e.what());
  }
}

}  // namespace skipserve
