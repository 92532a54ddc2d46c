// Typed reads of a GGUF file's metadata. The parser has checked that each value's bytes are there.
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"
#include "engine/gguf.h"
#include "engine/gguf_cursor.h"
#include "engine/model_file_utf8.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

template <typename T>
T Scalar(absl::string_view data) {
  T value{};
  std::memcpy(&value, data.data(), sizeof(T));
  return value;
}

absl::Status WrongType(absl::string_view key, absl::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat("metadata key ", key, " must be ", expected));
}

}  // namespace

absl::StatusOr<const GgufValue*> GgufMetadata::Find(absl::string_view key) const {
  const auto it = values_.find(key);
  if (it == values_.end()) {
    return absl::NotFoundError(absl::StrCat("metadata key ", key, " is missing"));
  }
  return &it->second;
}

absl::StatusOr<int64_t> GgufMetadata::Int(absl::string_view key) const {
  ASSIGN_OR_RETURN(const GgufValue* v, Find(key));
  switch (v->type) {
    case GgufValueType::kUint8:
      return Scalar<uint8_t>(v->data);
    case GgufValueType::kInt8:
      return Scalar<int8_t>(v->data);
    case GgufValueType::kUint16:
      return Scalar<uint16_t>(v->data);
    case GgufValueType::kInt16:
      return Scalar<int16_t>(v->data);
    case GgufValueType::kUint32:
      return Scalar<uint32_t>(v->data);
    case GgufValueType::kInt32:
      return Scalar<int32_t>(v->data);
    case GgufValueType::kInt64:
      return Scalar<int64_t>(v->data);
    case GgufValueType::kUint64: {
      const auto value = Scalar<uint64_t>(v->data);
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        return WrongType(key, "an integer below 2^63");
      }
      return static_cast<int64_t>(value);
    }
    default:
      return WrongType(key, "one integer");
  }
}

absl::StatusOr<int64_t> GgufMetadata::IntOr(absl::string_view key, int64_t missing) const {
  if (!Has(key)) return missing;
  return Int(key);
}

absl::StatusOr<double> GgufMetadata::Double(absl::string_view key) const {
  ASSIGN_OR_RETURN(const GgufValue* v, Find(key));
  if (v->type == GgufValueType::kFloat32) return Scalar<float>(v->data);
  if (v->type == GgufValueType::kFloat64) return Scalar<double>(v->data);
  const auto integer = Int(key);
  if (!integer.ok()) return WrongType(key, "one number");
  return static_cast<double>(*integer);
}

absl::StatusOr<double> GgufMetadata::DoubleOr(absl::string_view key, double missing) const {
  if (!Has(key)) return missing;
  return Double(key);
}

absl::StatusOr<bool> GgufMetadata::BoolOr(absl::string_view key, bool missing) const {
  if (!Has(key)) return missing;
  ASSIGN_OR_RETURN(const GgufValue* v, Find(key));
  if (v->type != GgufValueType::kBool) return WrongType(key, "true or false");
  return Scalar<uint8_t>(v->data) != 0;
}

absl::StatusOr<std::string> GgufMetadata::String(absl::string_view key) const {
  ASSIGN_OR_RETURN(const GgufValue* v, Find(key));
  if (v->type != GgufValueType::kString || !IsValidUtf8(v->data)) {
    return WrongType(key, "a string in UTF-8");
  }
  return std::string(v->data);
}

absl::StatusOr<std::string> GgufMetadata::StringOr(absl::string_view key,
                                                   absl::string_view missing) const {
  if (!Has(key)) return std::string(missing);
  return String(key);
}

absl::StatusOr<std::vector<absl::string_view>> GgufMetadata::Strings(absl::string_view key) const {
  ASSIGN_OR_RETURN(const GgufValue* v, Find(key));
  if (v->type != GgufValueType::kArray || v->element_type != GgufValueType::kString) {
    return WrongType(key, "an array of strings");
  }
  std::vector<absl::string_view> out(v->count);  // each string took 8 bytes of the file at least
  GgufCursor cursor(v->data);
  for (absl::string_view& text : out) {
    if (!cursor.ReadString(&text)) return WrongType(key, "an array of strings");
  }
  return out;
}

absl::StatusOr<std::vector<int32_t>> GgufMetadata::Ints(absl::string_view key) const {
  ASSIGN_OR_RETURN(const GgufValue* v, Find(key));
  if (v->type != GgufValueType::kArray ||
      (v->element_type != GgufValueType::kInt32 && v->element_type != GgufValueType::kUint32)) {
    return WrongType(key, "an array of 32-bit integers");
  }
  std::vector<int32_t> out(v->count);
  if (!out.empty()) std::memcpy(out.data(), v->data.data(), v->data.size());
  return out;
}

}  // namespace skipserve
