#include "engine/gguf.h"

#include <bit>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/gguf_cursor.h"
#include "engine/model_file_utf8.h"
#include "engine/status_macros.h"

static_assert(std::endian::native == std::endian::little, "GGUF is read as little-endian");

namespace skipserve {
namespace {

constexpr uint64_t kMaxName = 1024;
constexpr uint32_t kMaxDimensions = 4;
// The least a key and value, and a tensor's description, can take: bounds on how many there are.
constexpr uint64_t kMinPairBytes = 8 + 4 + 1;
constexpr uint64_t kMinTensorBytes = 8 + 4 + 8 + 4 + 8;

// Bytes of a scalar; 0 for strings, arrays and unknown types.
uint64_t ScalarBytes(GgufValueType type) {
  switch (type) {
    case GgufValueType::kUint8:
    case GgufValueType::kInt8:
    case GgufValueType::kBool:
      return 1;
    case GgufValueType::kUint16:
    case GgufValueType::kInt16:
      return 2;
    case GgufValueType::kUint32:
    case GgufValueType::kInt32:
    case GgufValueType::kFloat32:
      return 4;
    case GgufValueType::kUint64:
    case GgufValueType::kInt64:
    case GgufValueType::kFloat64:
      return 8;
    case GgufValueType::kString:
    case GgufValueType::kArray:
      return 0;
  }
  return 0;
}

absl::Status Truncated(absl::string_view where) {
  return absl::InvalidArgumentError(
      absl::StrCat("the file ends within ", where,
                   "; it is damaged or incomplete, download or convert it again"));
}

}  // namespace

class GgufParser {
 public:
  explicit GgufParser(absl::string_view bytes) : bytes_(bytes), cursor_(bytes) {}

  absl::StatusOr<GgufFile> Parse() {
    RETURN_IF_ERROR(ReadHeader());
    for (uint64_t i = 0; i < pairs_; ++i) RETURN_IF_ERROR(ReadPair(i));
    ASSIGN_OR_RETURN(const int64_t alignment, file_.metadata.IntOr("general.alignment", 32));
    if (alignment < 8 || alignment > (1 << 20) || (alignment & (alignment - 1)) != 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "general.alignment is ", alignment, ", but must be a power of two in 8 .. 1048576"));
    }
    alignment_ = static_cast<uint64_t>(alignment);
    offsets_.reserve(tensors_);
    for (uint64_t i = 0; i < tensors_; ++i) RETURN_IF_ERROR(ReadTensor(i));
    RETURN_IF_ERROR(PlaceTensors());
    return std::move(file_);
  }

 private:
  absl::Status ReadHeader() {
    absl::string_view magic;
    if (!cursor_.ReadBytes(4, &magic) || magic != "GGUF") {
      return absl::InvalidArgumentError("not a GGUF file: it does not begin with 'GGUF'");
    }
    if (!cursor_.Read(&file_.version)) return Truncated("the header");
    if (file_.version == 0x02000000 || file_.version == 0x03000000) {
      return absl::InvalidArgumentError("a big-endian GGUF file; convert it to little-endian");
    }
    if (file_.version != 2 && file_.version != 3) {
      return absl::InvalidArgumentError(absl::StrCat(
          "GGUF version ", file_.version, " is not supported; convert the model to version 3"));
    }
    if (!cursor_.Read(&tensors_) || !cursor_.Read(&pairs_)) return Truncated("the header");
    if (pairs_ > cursor_.remaining() / kMinPairBytes) {
      return Truncated(absl::StrCat("its metadata: it announces ", pairs_, " keys"));
    }
    if (tensors_ > cursor_.remaining() / kMinTensorBytes) {
      return Truncated(absl::StrCat("its tensors: it announces ", tensors_));
    }
    return absl::OkStatus();
  }

  absl::Status ReadPair(uint64_t index) {
    absl::string_view key;
    uint32_t type = 0;
    if (!cursor_.ReadString(&key) || !cursor_.Read(&type)) {
      return Truncated(absl::StrCat("metadata key ", index));
    }
    if (key.empty() || key.size() > kMaxName || !IsValidUtf8(key)) {
      return absl::InvalidArgumentError(
          absl::StrCat("metadata key ", index, " has no valid name; the file is damaged"));
    }
    GgufValue value;
    value.type = static_cast<GgufValueType>(type);
    if (value.type == GgufValueType::kString) {
      if (!cursor_.ReadString(&value.data)) return Truncated(key);
    } else if (value.type == GgufValueType::kArray) {
      RETURN_IF_ERROR(ReadArray(key, &value));
    } else {
      const uint64_t size = ScalarBytes(value.type);
      if (size == 0) return UnknownType(key, type);
      if (!cursor_.ReadBytes(size, &value.data)) return Truncated(key);
    }
    if (!file_.metadata.values_.emplace(std::string(key), value).second) {
      return absl::InvalidArgumentError(absl::StrCat("metadata key ", key, " appears twice"));
    }
    return absl::OkStatus();
  }

  absl::Status ReadArray(absl::string_view key, GgufValue* value) {
    uint32_t element = 0;
    if (!cursor_.Read(&element) || !cursor_.Read(&value->count)) return Truncated(key);
    value->element_type = static_cast<GgufValueType>(element);
    if (value->element_type == GgufValueType::kString) {
      const size_t begin = cursor_.position();
      absl::string_view text;
      for (uint64_t i = 0; i < value->count; ++i) {
        if (!cursor_.ReadString(&text)) return Truncated(key);
      }
      value->data = bytes_.substr(begin, cursor_.position() - begin);
      return absl::OkStatus();
    }
    const uint64_t size = ScalarBytes(value->element_type);
    if (size == 0) return UnknownType(key, element);
    if (value->count > cursor_.remaining() / size ||
        !cursor_.ReadBytes(value->count * size, &value->data)) {
      return Truncated(key);
    }
    return absl::OkStatus();
  }

  static absl::Status UnknownType(absl::string_view key, uint32_t type) {
    return absl::InvalidArgumentError(absl::StrCat("metadata key ", key, " has a value of type ",
                                                   type, ", which is not supported"));
  }

  absl::Status ReadTensor(uint64_t index) {
    absl::string_view name;
    uint32_t dimensions = 0, type = 0;
    uint64_t offset = 0;
    if (!cursor_.ReadString(&name) || !cursor_.Read(&dimensions)) {
      return Truncated(absl::StrCat("tensor ", index, "'s description"));
    }
    if (name.empty() || name.size() > kMaxName || !IsValidUtf8(name)) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", index, " has no valid name; the file is damaged"));
    }
    if (dimensions < 1 || dimensions > kMaxDimensions) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", name, " has ", dimensions, " dimensions, but must have 1 .. 4"));
    }
    StoredTensor tensor;
    tensor.shape.resize(dimensions);
    for (uint32_t i = 0; i < dimensions; ++i) {  // GGUF has the innermost first
      if (!cursor_.Read(&tensor.shape[dimensions - 1 - i])) return Truncated(name);
    }
    if (!cursor_.Read(&type) || !cursor_.Read(&offset)) return Truncated(name);
    const StoredTypeInfo* info = FindStoredType(type);
    if (info == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(
          "tensor ", name, " is of type ", GgmlTypeName(type), " (", type,
          "), which is not supported; convert the model to one of F32, F16, BF16, Q8_0, Q4_0, "
          "Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K"));
    }
    tensor.type = info->type;
    const auto bytes = StoredBytes(*info, tensor.shape);
    if (!bytes.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", name, ": ", bytes.status().message()));
    }
    if (offset % alignment_ != 0) {
      return absl::InvalidArgumentError(absl::StrCat("tensor ", name, " begins at offset ", offset,
                                                     ", which is not aligned to ", alignment_));
    }
    const auto [slot, is_new] = file_.tensors.emplace(std::string(name), std::move(tensor));
    if (!is_new) {
      return absl::InvalidArgumentError(absl::StrCat("tensor ", name, " appears twice"));
    }
    offsets_.push_back({offset, *bytes, name});
    return absl::OkStatus();
  }

  // The data begin at the first aligned byte after the descriptions.
  absl::Status PlaceTensors() {
    const uint64_t misaligned = cursor_.position() % alignment_;
    absl::string_view padding;
    if (tensors_ > 0 && misaligned > 0 && !cursor_.ReadBytes(alignment_ - misaligned, &padding)) {
      return Truncated("the padding before its tensors");
    }
    const absl::string_view data = bytes_.substr(cursor_.position());
    std::vector<ByteRange> ranges;
    ranges.reserve(offsets_.size());
    for (const Placed& p : offsets_) {
      if (p.offset > data.size() || p.bytes > data.size() - p.offset) return Truncated(p.name);
      file_.tensors.find(p.name)->second.data = data.substr(p.offset, p.bytes);
      ranges.push_back({p.offset, p.offset + p.bytes, p.name});
    }
    return CheckNoOverlap(std::move(ranges));
  }

  struct Placed {
    uint64_t offset, bytes;
    absl::string_view name;
  };

  absl::string_view bytes_;
  GgufCursor cursor_;
  GgufFile file_;
  uint64_t tensors_ = 0, pairs_ = 0, alignment_ = 32;
  std::vector<Placed> offsets_;
};

absl::StatusOr<GgufFile> ParseGguf(absl::string_view bytes) { return GgufParser(bytes).Parse(); }

}  // namespace skipserve
