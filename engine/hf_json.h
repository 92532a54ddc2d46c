// Reads of JSON that may be anything: no exception, no assumption about types. Pure functions, safe
// from any thread.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace skipserve {

using Json = nlohmann::json;

// INVALID_ARGUMENT where the text is no JSON.
absl::StatusOr<Json> ParseJson(absl::string_view text);

// Null where `object` is no object, has no such member, or the member is null.
const Json* Member(const Json& object, absl::string_view key);

absl::StatusOr<int64_t> ToInt(const Json& value);

// Each: NOT_FOUND for a missing (or null) member, INVALID_ARGUMENT for one of another type; the
// messages name the key. The *Or forms have a value for a missing member.
absl::StatusOr<int64_t> ReadInt(const Json& object, absl::string_view key);
absl::StatusOr<int32_t> ReadInt32(const Json& object, absl::string_view key);  // not negative
absl::StatusOr<double> ReadDouble(const Json& object, absl::string_view key);
absl::StatusOr<double> ReadDoubleOr(const Json& object, absl::string_view key, double missing);
absl::StatusOr<bool> ReadBoolOr(const Json& object, absl::string_view key, bool missing);
absl::StatusOr<std::string> ReadString(const Json& object, absl::string_view key);
absl::StatusOr<std::string> ReadStringOr(const Json& object, absl::string_view key,
                                         absl::string_view missing);

}  // namespace skipserve
