#include "engine/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/hf_json.h"
#include "engine/status_macros.h"

static_assert(std::endian::native == std::endian::little, "weights are read as little-endian");

namespace skipserve {
namespace {

constexpr uint64_t kMaxHeader = 100'000'000;  // the format's own limit
constexpr size_t kMaxDimensions = 8;

// Bytes of an element of any type the format knows; 0 for others.
int64_t ElementBytes(absl::string_view dtype) {
  for (const absl::string_view one : {"BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"}) {
    if (dtype == one) return 1;
  }
  for (const absl::string_view two : {"I16", "U16", "F16", "BF16"}) {
    if (dtype == two) return 2;
  }
  for (const absl::string_view four : {"I32", "U32", "F32"}) {
    if (dtype == four) return 4;
  }
  for (const absl::string_view eight : {"I64", "U64", "F64"}) {
    if (dtype == eight) return 8;
  }
  return 0;
}

absl::Status Wrong(absl::string_view name, absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("tensor ", name, ": ", what, "; the file is damaged, download it again"));
}

absl::StatusOr<std::vector<int64_t>> ReadShape(absl::string_view name, const Json& entry) {
  const Json* shape = Member(entry, "shape");
  if (shape == nullptr || !shape->is_array() || shape->size() > kMaxDimensions) {
    return Wrong(name, "its shape is no list of at most 8 numbers");
  }
  std::vector<int64_t> out;
  for (const Json& size : *shape) {
    const auto value = ToInt(size);
    if (!value.ok()) return Wrong(name, "its shape is no list of whole numbers");
    out.push_back(*value);
  }
  return out;
}

absl::Status ReadEntry(const std::string& name, const Json& entry, absl::string_view data,
                       SafetensorsFile* file, std::vector<ByteRange>* ranges) {
  const auto dtype = ReadString(entry, "dtype");
  if (!dtype.ok()) return Wrong(name, "it has no dtype");
  const int64_t element = ElementBytes(*dtype);
  if (element == 0) return Wrong(name, absl::StrCat("its dtype '", *dtype, "' is unknown"));
  StoredTensor tensor;
  ASSIGN_OR_RETURN(tensor.shape, ReadShape(name, entry));
  const Json* offsets = Member(entry, "data_offsets");
  if (offsets == nullptr || !offsets->is_array() || offsets->size() != 2) {
    return Wrong(name, "its data_offsets are no pair");
  }
  const auto begin = ToInt((*offsets)[0]), end = ToInt((*offsets)[1]);
  if (!begin.ok() || !end.ok() || *begin < 0 || *end < *begin ||
      static_cast<uint64_t>(*end) > data.size()) {
    return Wrong(name, absl::StrCat("its data_offsets do not lie in the ", data.size(),
                                    " bytes of data the file has"));
  }
  StoredTypeInfo info{StoredType::kF32, "", 1, element};
  if (*dtype == "F16") info.type = StoredType::kF16;
  if (*dtype == "BF16") info.type = StoredType::kBF16;
  const bool readable = *dtype == "F32" || *dtype == "F16" || *dtype == "BF16";
  const uint64_t size = static_cast<uint64_t>(*end - *begin);
  const bool empty = std::find(tensor.shape.begin(), tensor.shape.end(), 0) != tensor.shape.end();
  if (!empty) {
    const auto bytes = StoredBytes(info, tensor.shape);
    if (!bytes.ok()) return Wrong(name, bytes.status().message());
    if (*bytes != size) {
      return Wrong(name,
                   absl::StrCat("its shape takes ", *bytes, " bytes, its data_offsets ", size));
    }
    ranges->push_back({static_cast<uint64_t>(*begin), static_cast<uint64_t>(*end), name});
  }
  if (!readable || empty) {
    file->other.emplace(name, empty ? "empty" : *dtype);
    return absl::OkStatus();
  }
  tensor.type = info.type;
  tensor.data = data.substr(static_cast<size_t>(*begin), size);
  file->tensors.emplace(name, std::move(tensor));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SafetensorsFile> ParseSafetensors(absl::string_view bytes) {
  uint64_t header_size = 0;
  if (bytes.size() < sizeof(header_size)) {
    return absl::InvalidArgumentError("too short for a safetensors file; download it again");
  }
  std::memcpy(&header_size, bytes.data(), sizeof(header_size));
  bytes.remove_prefix(sizeof(header_size));
  if (header_size > kMaxHeader || header_size > bytes.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("not a safetensors file, or damaged: it announces a header of ", header_size,
                     " bytes; download it again"));
  }
  ASSIGN_OR_RETURN(const Json header, ParseJson(bytes.substr(0, header_size)));
  if (!header.is_object()) {
    return absl::InvalidArgumentError("its header is no JSON object; the file is damaged");
  }
  const absl::string_view data = bytes.substr(header_size);
  SafetensorsFile file;
  std::vector<ByteRange> ranges;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    RETURN_IF_ERROR(ReadEntry(name, entry, data, &file, &ranges));
  }
  RETURN_IF_ERROR(CheckNoOverlap(std::move(ranges)));
  return file;
}

}  // namespace skipserve
