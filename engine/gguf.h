// The GGUF container, versions 2 and 3: metadata by key and tensors by name, as views of the
// file's bytes. It checks every offset, count and length before use, and knows nothing of what a
// model is. Immutable after Parse and thread-safe; the bytes must outlive it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/model_file_tensor.h"

namespace skipserve {

enum class GgufValueType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

// A metadata value: `data` holds the scalar, the string's text, or the array's elements end to end.
struct GgufValue {
  GgufValueType type = GgufValueType::kUint8;
  GgufValueType element_type = GgufValueType::kUint8;  // arrays only
  uint64_t count = 0;                                  // arrays only
  absl::string_view data;
};

class GgufMetadata {
 public:
  bool Has(absl::string_view key) const { return values_.contains(key); }

  // Each: NOT_FOUND where the key is missing, INVALID_ARGUMENT where it holds another type. Int
  // takes integers of any width, Double also floats. The *Or forms have a value for a missing key.
  absl::StatusOr<int64_t> Int(absl::string_view key) const;
  absl::StatusOr<int64_t> IntOr(absl::string_view key, int64_t missing) const;
  absl::StatusOr<double> Double(absl::string_view key) const;
  absl::StatusOr<double> DoubleOr(absl::string_view key, double missing) const;
  absl::StatusOr<bool> BoolOr(absl::string_view key, bool missing) const;
  absl::StatusOr<std::string> String(absl::string_view key) const;  // valid UTF-8
  absl::StatusOr<std::string> StringOr(absl::string_view key, absl::string_view missing) const;
  absl::StatusOr<std::vector<absl::string_view>> Strings(absl::string_view key) const;
  absl::StatusOr<std::vector<int32_t>> Ints(absl::string_view key) const;  // of uint32 or int32

 private:
  friend class GgufParser;
  absl::StatusOr<const GgufValue*> Find(absl::string_view key) const;

  absl::flat_hash_map<std::string, GgufValue> values_;
};

struct GgufFile {
  uint32_t version = 0;
  GgufMetadata metadata;
  StoredTensors tensors;
};

// INVALID_ARGUMENT says what is wrong and what to do about it, but not in which file: the caller
// knows its name.
absl::StatusOr<GgufFile> ParseGguf(absl::string_view bytes);

}  // namespace skipserve
