#include "kernels/cpu/tiled_weights.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "kernels/bf16.h"
#include "kernels/cpu/quantize.h"
#include "kernels/cpu/row_kernels.h"

namespace skipserve::cpu {

absl::StatusOr<TiledWeights> TiledWeights::Pack(const WeightSource& source, WeightType type,
                                                HostSlabs& slabs, ThreadPool& pool,
                                                std::vector<Scratch>& scratch) {
  const int64_t n = source.out_features, k = source.in_features;
  TiledWeights w(n, k, type);
  absl::StatusOr<Buffer> blocks =
      slabs.Allocate(w.output_blocks() * w.input_blocks() * kBlockBytes);
  if (!blocks.ok()) return blocks.status();
  w.blocks_ = *std::move(blocks);
  if (type == WeightType::kInt8) {
    for (Buffer* const of_outputs : {&w.scales_, &w.offsets_}) {
      absl::StatusOr<Buffer> words = slabs.Allocate(w.output_blocks() * kOutputs * sizeof(float));
      if (!words.ok()) return words.status();
      *of_outputs = *std::move(words);
    }
  }
  const int64_t words = w.input_blocks() * kWords;
  pool.ParallelFor(w.output_blocks(), [&](int64_t b, int thread) {
    const int64_t count = std::min(kOutputs, n - b * kOutputs);
    auto* const rows = static_cast<uint32_t*>(  // [kOutputs, words]
        scratch[thread].Bytes(kOutputs * (words + k) * sizeof(uint32_t)));
    auto* const read = reinterpret_cast<float*>(rows + kOutputs * words);  // [kOutputs, k]
    source.read(b * kOutputs, count, read);
    std::fill_n(rows, kOutputs * words, 0u);
    for (int64_t i = 0; i < kOutputs; ++i) {
      const float scale = i < count ? w.RoundRow(read + i * k, rows + i * words) : 0.0f;
      if (type != WeightType::kInt8) continue;
      const auto* const codes = reinterpret_cast<const int8_t*>(rows + i * words);
      w.scales_.f32()[b * kOutputs + i] = scale;
      static_cast<int32_t*>(w.offsets_.data())[b * kOutputs + i] =
          static_cast<int32_t>(kUnsigned * std::accumulate(codes, codes + k, int64_t{0}));
    }
    auto* to = const_cast<uint32_t*>(w.Outputs(b));
    for (int64_t word = 0; word < words; ++word) {
      for (int64_t i = 0; i < kOutputs; ++i) *to++ = rows[i * words + word];
    }
  });
  return w;
}

float TiledWeights::RoundRow(const float* from, void* to) const {
  if (type_ == WeightType::kInt8) return QuantizeRow(from, k_, static_cast<int8_t*>(to));
  RoundToBf16(from, k_, static_cast<uint16_t*>(to));
  return 1.0f;
}

void TiledWeights::Read(int64_t row, float* out) const {
  const uint32_t* from = Outputs(row / kOutputs) + row % kOutputs;
  if (type_ == WeightType::kBF16) {
    for (int64_t j = 0; j < k_; ++j) {
      uint16_t pair[2];
      std::memcpy(pair, from + j / 2 * kOutputs, sizeof(pair));
      out[j] = Bf16ToF32(pair[j % 2]);
    }
  } else {
    for (int64_t j = 0; j < k_; ++j) {
      int8_t codes[4];
      std::memcpy(codes, from + j / 4 * kOutputs, sizeof(codes));
      out[j] = scales()[row] * static_cast<float>(codes[j % 4]);
    }
    RotateRow(out, k_);
  }
}

}  // namespace skipserve::cpu
