#include "engine/model_file_tensor.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/sha256.h"

namespace skipserve {
namespace {

constexpr uint64_t kMaxBytes = uint64_t{1} << 62;

}  // namespace

absl::StatusOr<uint64_t> StoredBytes(const StoredTypeInfo& type, absl::Span<const int64_t> shape) {
  uint64_t elements = 1;
  for (const int64_t size : shape) {
    if (size < 1) {
      return absl::InvalidArgumentError(absl::StrCat("a dimension is ", size));
    }
    if (static_cast<uint64_t>(size) > kMaxBytes / elements) {
      return absl::InvalidArgumentError("its dimensions are impossibly large");
    }
    elements *= static_cast<uint64_t>(size);
  }
  const int64_t row = shape.empty() ? 1 : shape.back();
  if (row % type.block_elements != 0) {
    return absl::InvalidArgumentError(absl::StrCat("its rows of ", row,
                                                   " elements are no whole number of ", type.name,
                                                   " blocks of ", type.block_elements));
  }
  const uint64_t blocks = elements / static_cast<uint64_t>(type.block_elements);
  if (blocks > kMaxBytes / static_cast<uint64_t>(type.block_bytes)) {
    return absl::InvalidArgumentError("its dimensions are impossibly large");
  }
  return blocks * static_cast<uint64_t>(type.block_bytes);
}

absl::Status CheckNoOverlap(std::vector<ByteRange> ranges) {
  std::sort(ranges.begin(), ranges.end(),
            [](const ByteRange& a, const ByteRange& b) { return a.begin < b.begin; });
  for (size_t i = 1; i < ranges.size(); ++i) {
    if (ranges[i].begin < ranges[i - 1].end) {
      return absl::InvalidArgumentError(absl::StrCat("tensors ", ranges[i - 1].name, " and ",
                                                     ranges[i].name,
                                                     " overlap; the file is damaged"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<WeightSource> MakeWeightSource(absl::string_view name, const StoredTensor& tensor,
                                              int64_t interleaved_head_dim) {
  if (tensor.shape.empty() || tensor.shape.size() > 2) {
    return absl::InvalidArgumentError(absl::StrCat("tensor ", name, " has ", tensor.shape.size(),
                                                   " dimensions, but a weight has one or two"));
  }
  WeightSource source;
  source.in_features = tensor.shape.back();
  source.out_features = tensor.shape.size() == 2 ? tensor.shape.front() : 1;
  const int64_t rows = source.out_features, cols = source.in_features;
  const int64_t row_bytes = static_cast<int64_t>(tensor.data.size()) / rows;
  if (interleaved_head_dim != 0 &&
      (interleaved_head_dim % 2 != 0 || rows % interleaved_head_dim != 0)) {
    return absl::InvalidArgumentError(absl::StrCat("tensor ", name, " has ", rows,
                                                   " rows, which are no whole number of heads of ",
                                                   interleaved_head_dim));
  }
  // Where rows from `row` on lie, and how many of them side by side.
  const auto in_file = [=, data = tensor.data.data()](int64_t row, int64_t count) {
    assert(row >= 0 && count >= 0 && row <= rows - count);
    if (interleaved_head_dim == 0) return std::pair(data + row * row_bytes, count);
    const int64_t in_head = row % interleaved_head_dim, half = interleaved_head_dim / 2;
    const int64_t at = row - in_head + 2 * (in_head % half) + in_head / half;
    return std::pair(data + at * row_bytes, std::min<int64_t>(count, 1));
  };
  const StoredType type = tensor.type;
  source.read = [=](int64_t begin, int64_t count, float* out) {
    for (const int64_t end = begin + count; begin < end;) {
      const auto [from, together] = in_file(begin, end - begin);
      Dequantize(type, from, together * cols, out);
      begin += together;
      out += together * cols;
    }
  };
  if (!IsFourBits(type)) return source;
  source.read_four_bits = [=](int64_t begin, int64_t count, FourBitRows out) {
    for (const int64_t end = begin + count; begin < end;) {
      const auto [from, together] = in_file(begin, end - begin);
      UnpackFourBits(type, from, together * cols, out.codes, out.scales, out.minima);
      begin += together;
      out = out.From(together, cols);
    }
  };
  return source;
}

absl::StatusOr<std::string> Fingerprint(const ModelConfig& c, const StoredTensors& tensors) {
  constexpr size_t kSample = 4096;
  Sha256 sha;
  const RopeScaling& r = c.rope_scaling;
  sha.Update(absl::StrCat(c.architecture, " ", c.layers, " ", c.width, " ", c.ffn_width, " "));
  sha.Update(absl::StrCat(c.heads, " ", c.kv_heads, " ", c.head_dim, " ", c.vocab_size, " "));
  sha.Update(absl::StrCat(c.max_positions, " ", c.norm_eps, " ", c.rope_theta, " "));
  sha.Update(absl::StrCat(static_cast<int>(r.kind), " ", r.factor, " ", r.low_freq_factor, " "));
  sha.Update(absl::StrCat(r.high_freq_factor, " ", r.original_max_positions, " "));
  sha.Update(absl::StrCat(c.tied_embeddings, " ", c.qkv_bias, "\n"));
  std::vector<const StoredTensors::value_type*> sorted;
  for (const auto& named : tensors) sorted.push_back(&named);
  std::sort(sorted.begin(), sorted.end(), [](auto* a, auto* b) { return a->first < b->first; });
  for (const auto* named : sorted) {
    const StoredTensor& t = named->second;
    sha.Update(absl::StrCat(named->first, " ", static_cast<uint32_t>(t.type), " ",
                            absl::StrJoin(t.shape, ","), "\n"));
    sha.Update(t.data.substr(0, kSample));
    if (t.data.size() > kSample) {
      sha.Update(t.data.substr(std::max(kSample, t.data.size() - kSample)));
    }
  }
  return sha.HexDigest();
}

}  // namespace skipserve
