#include "server/openai_fields.h"

#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"

namespace skipserve {

FieldReader::FieldReader(const nlohmann::json& object, std::string path)
    : object_(object), path_(std::move(path)) {}

const nlohmann::json* FieldReader::Find(const char* name) const {
  const auto it = object_.find(name);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

void FieldReader::Bool(const char* name, bool* out) {
  const nlohmann::json* value = Find(name);
  if (value == nullptr) return;
  if (!value->is_boolean()) return Fail(name, "must be true or false, got " + JsonKind(*value));
  *out = value->get<bool>();
}

void FieldReader::Int(const char* name, int64_t min, int64_t max, int64_t* out) {
  const nlohmann::json* value = Find(name);
  if (value == nullptr) return;
  if (!value->is_number_integer()) {
    return Fail(name, "must be an integer, got " + JsonKind(*value));
  }
  const std::optional<int64_t> number = AsInt(*value);
  if (!number || *number < min || *number > max) {
    return Fail(name, absl::StrCat("must be from ", min, " to ", max, ", got ", value->dump()));
  }
  *out = *number;
}

void FieldReader::Number(const char* name, double min, double max, double* out) {
  const nlohmann::json* value = Find(name);
  if (value == nullptr) return;
  if (!value->is_number()) return Fail(name, "must be a number, got " + JsonKind(*value));
  const double number = value->get<double>();
  // Written so that NaN fails too.
  if (!(number >= min && number <= max)) {
    return Fail(name, absl::StrCat("must be from ", min, " to ", max, ", got ", value->dump()));
  }
  *out = number;
}

void FieldReader::Number(const char* name, double min, double max, float* out) {
  double number = *out;
  Number(name, min, max, &number);
  if (ok()) *out = static_cast<float>(number);
}

void FieldReader::String(const char* name, std::string* out) {
  const nlohmann::json* value = Find(name);
  if (value == nullptr) return;
  if (!value->is_string()) return Fail(name, "must be a string, got " + JsonKind(*value));
  *out = value->get_ref<const std::string&>();
}

void FieldReader::Ints(const char* name, int64_t min, int64_t max, size_t max_size,
                       std::vector<int32_t>* out) {
  const nlohmann::json* value = Find(name);
  if (value == nullptr) return;
  if (!value->is_array()) return Fail(name, "must be a list, got " + JsonKind(*value));
  if (value->size() > max_size) {
    return Fail(name, absl::StrCat("holds more than ", max_size, " values"));
  }
  std::vector<int32_t> ints;
  ints.reserve(value->size());
  for (size_t i = 0; i < value->size(); ++i) {
    const std::optional<int64_t> number = AsInt((*value)[i]);
    if (!number || *number < min || *number > max) {
      return Fail(absl::StrCat(name, "[", i, "]"),
                  absl::StrCat("must be an integer from ", min, " to ", max));
    }
    ints.push_back(static_cast<int32_t>(*number));
  }
  *out = std::move(ints);
}

void FieldReader::Fail(const std::string& name, const std::string& message) {
  Fail(BadParam(Path(name), absl::StrCat("'", Path(name), "' ", message, ".")));
}

void FieldReader::Fail(ApiError error) {
  if (ok()) error_ = std::move(error);
}

std::string JsonKind(const nlohmann::json& value) {
  if (value.is_string()) return "a string";
  if (value.is_number()) return "the number " + value.dump();
  if (value.is_boolean()) return value.get<bool>() ? "true" : "false";
  if (value.is_array()) return "a list";
  if (value.is_object()) return "an object";
  return "null";
}

std::optional<int64_t> AsInt(const nlohmann::json& value) {
  if (!value.is_number_integer()) return std::nullopt;
  if (value.is_number_unsigned() &&
      value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return std::nullopt;
  }
  return value.get<int64_t>();
}

}  // namespace skipserve
