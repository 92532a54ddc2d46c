// Reads the fields of one JSON object and keeps the first complaint, naming the field. An absent
// field and null are the same and leave the target alone. One thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "server/openai_error.h"

namespace skipserve {

class FieldReader {
 public:
  // `object` must outlive the reader; `path` goes before the names, such as "stream_options.".
  explicit FieldReader(const nlohmann::json& object, std::string path = "");

  // Null where absent or null.
  const nlohmann::json* Find(const char* name) const;

  void Bool(const char* name, bool* out);
  // Inclusive bounds.
  void Int(const char* name, int64_t min, int64_t max, int64_t* out);
  void Number(const char* name, double min, double max, double* out);
  void Number(const char* name, double min, double max, float* out);
  void String(const char* name, std::string* out);
  // A list of ints within [min, max].
  void Ints(const char* name, int64_t min, int64_t max, size_t max_size, std::vector<int32_t>* out);

  // Records a complaint about a field, unless there is one already.
  void Fail(const std::string& name, const std::string& message);
  void Fail(ApiError error);

  bool ok() const { return !error_.has_value(); }
  const std::optional<ApiError>& error() const { return error_; }
  std::string Path(const std::string& name) const { return path_ + name; }

 private:
  const nlohmann::json& object_;
  std::string path_;
  std::optional<ApiError> error_;
};

// "a string", "a number", ... for messages.
std::string JsonKind(const nlohmann::json& value);

// The value as an integer; nullopt for floats, other types and what does not fit int64.
std::optional<int64_t> AsInt(const nlohmann::json& value);

}  // namespace skipserve
