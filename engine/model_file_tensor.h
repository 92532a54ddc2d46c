// A tensor as it lies in a file, and how rows of it become float32. Shared by the loaders of both
// formats. Immutable and thread-safe; the file's bytes must outlive everything here.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/dequant.h"
#include "engine/model_config.h"
#include "kernels/ops.h"

namespace skipserve {

struct StoredTensor {
  StoredType type = StoredType::kF32;
  std::vector<int64_t> shape;  // row-major, the outermost dimension first
  absl::string_view data;      // exactly the tensor's bytes
};

using StoredTensors = absl::flat_hash_map<std::string, StoredTensor>;

// Bytes of a tensor of this type and shape. INVALID_ARGUMENT where a dimension is below one, a row
// is no whole number of blocks, or the product leaves 62 bits.
absl::StatusOr<uint64_t> StoredBytes(const StoredTypeInfo& type, absl::Span<const int64_t> shape);

// INVALID_ARGUMENT where two of the byte ranges share a byte. `what` names them in the message.
struct ByteRange {
  uint64_t begin = 0, end = 0;
  absl::string_view name;
};
absl::Status CheckNoOverlap(std::vector<ByteRange> ranges);

// Rows of the tensor; a vector is one row. With `interleaved_head_dim` > 0 the file holds each
// head's rows in interleaved RoPE order (row 2 i + h is half h's row i), and the source gives them
// half by half. INVALID_ARGUMENT for more than two dimensions or heads that do not fit.
absl::StatusOr<WeightSource> MakeWeightSource(absl::string_view name, const StoredTensor& tensor,
                                              int64_t interleaved_head_dim);

// SHA-256 over the config's numbers and every tensor's name, type, shape, and its first and last
// 4 KiB, in the order of the names: a few pages of each tensor, not the whole file.
absl::StatusOr<std::string> Fingerprint(const ModelConfig& config, const StoredTensors& tensors);

}  // namespace skipserve
