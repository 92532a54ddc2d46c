#include "kernels/cpu/paired_weights.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/bf16.h"
#include "kernels/cpu/row_kernels.h"

namespace skipserve::cpu {

absl::StatusOr<PairedWeights> PairedWeights::Pack(const WeightSource& source, HostSlabs& slabs,
                                                  ThreadPool& pool,
                                                  std::vector<Scratch>& scratch) {
  const int64_t n = source.out_features, k = source.in_features;
  const int64_t padded = (k + kInputs - 1) / kInputs * kInputs;
  const int64_t output_blocks = (n + kOutputs - 1) / kOutputs;
  absl::StatusOr<Buffer> blocks =
      slabs.Allocate(output_blocks * kOutputs * padded * sizeof(uint16_t));
  if (!blocks.ok()) return blocks.status();
  PairedWeights packed(n, k, *std::move(blocks));
  pool.ParallelFor(output_blocks, [&](int64_t b, int thread) {
    const int64_t count = std::min(kOutputs, n - b * kOutputs);
    float* const read = scratch[thread].Floats(kOutputs * k + kOutputs * padded / 2);
    auto* const rows = reinterpret_cast<uint16_t*>(read + kOutputs * k);  // [kOutputs, padded]
    source.read(b * kOutputs, count, read);
    std::fill_n(rows, kOutputs * padded, uint16_t{0});
    for (int64_t i = 0; i < count; ++i) RoundToBf16(read + i * k, k, rows + i * padded);
    auto* to = const_cast<uint16_t*>(packed.Outputs(b));
    for (int64_t pair = 0; pair < padded / 2; ++pair) {
      for (int64_t i = 0; i < kOutputs; ++i, to += 2) {
        std::memcpy(to, rows + i * padded + 2 * pair, 2 * sizeof(uint16_t));
      }
    }
  });
  return packed;
}

void PairedWeights::Read(int64_t row, float* out) const {
  const uint16_t* from = Outputs(row / kOutputs) + row % kOutputs * 2;
  for (int64_t j = 0; j < k_; ++j) out[j] = Bf16ToF32(from[j / 2 * 2 * kOutputs + j % 2]);
}

}  // namespace skipserve::cpu
