#include "engine/hf_json.h"

#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

absl::Status WrongType(absl::string_view key, absl::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat("'", key, "' must be ", expected));
}

absl::StatusOr<const Json*> Required(const Json& object, absl::string_view key) {
  const Json* value = Member(object, key);
  if (value == nullptr) return absl::NotFoundError(absl::StrCat("'", key, "' is missing"));
  return value;
}

}  // namespace

absl::StatusOr<Json> ParseJson(absl::string_view text) {
  Json parsed = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (parsed.is_discarded()) {
    return absl::InvalidArgumentError("not valid JSON; the file is damaged, download it again");
  }
  return parsed;
}

const Json* Member(const Json& object, absl::string_view key) {
  if (!object.is_object()) return nullptr;
  const auto it = object.find(std::string(key));
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

absl::StatusOr<int64_t> ToInt(const Json& value) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<uint64_t>();
    if (number <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return static_cast<int64_t>(number);
    }
  } else if (value.is_number_integer()) {
    return value.get<int64_t>();
  }
  return absl::InvalidArgumentError("not a whole number");
}

absl::StatusOr<int64_t> ReadInt(const Json& object, absl::string_view key) {
  ASSIGN_OR_RETURN(const Json* value, Required(object, key));
  const auto number = ToInt(*value);
  if (!number.ok()) return WrongType(key, "a whole number");
  return *number;
}

absl::StatusOr<int32_t> ReadInt32(const Json& object, absl::string_view key) {
  ASSIGN_OR_RETURN(const int64_t number, ReadInt(object, key));
  if (number < 0 || number > std::numeric_limits<int32_t>::max()) {
    return WrongType(key, "a whole number in 0 .. 2147483647");
  }
  return static_cast<int32_t>(number);
}

absl::StatusOr<double> ReadDouble(const Json& object, absl::string_view key) {
  ASSIGN_OR_RETURN(const Json* value, Required(object, key));
  if (!value->is_number()) return WrongType(key, "a number");
  return value->get<double>();
}

absl::StatusOr<double> ReadDoubleOr(const Json& object, absl::string_view key, double missing) {
  if (Member(object, key) == nullptr) return missing;
  return ReadDouble(object, key);
}

absl::StatusOr<bool> ReadBoolOr(const Json& object, absl::string_view key, bool missing) {
  const Json* value = Member(object, key);
  if (value == nullptr) return missing;
  if (!value->is_boolean()) return WrongType(key, "true or false");
  return value->get<bool>();
}

absl::StatusOr<std::string> ReadString(const Json& object, absl::string_view key) {
  ASSIGN_OR_RETURN(const Json* value, Required(object, key));
  if (!value->is_string()) return WrongType(key, "a string");
  return value->get_ref<const std::string&>();
}

absl::StatusOr<std::string> ReadStringOr(const Json& object, absl::string_view key,
                                         absl::string_view missing) {
  if (Member(object, key) == nullptr) return std::string(missing);
  return ReadString(object, key);
}

}  // namespace skipserve
