#include "kernels/cpu/four_bit_weights.h"

#include <algorithm>
#include <cassert>

#include "kernels/half.h"

namespace skipserve::cpu {
namespace {

constexpr int64_t kInputs = FourBitWeights::kInputs;

// Codes of 32 inputs of one output to its column of the block.
void PutCodes(const uint8_t* codes, int64_t output, FourBitWeights::Block& block) {
  for (int64_t j = 0; j < kInputs / 8; ++j) {
    uint32_t word = 0;
    for (int64_t b = 0; b < 4; ++b) {
      word |= static_cast<uint32_t>(codes[4 * j + b] | codes[16 + 4 * j + b] << 4) << (8 * b);
    }
    block.codes[j][output] = word;
  }
}

}  // namespace

absl::StatusOr<FourBitWeights> FourBitWeights::Pack(const WeightSource& source, HostSlabs& slabs,
                                                    ThreadPool& pool,
                                                    std::vector<Scratch>& scratch) {
  const int64_t n = source.out_features, k = source.in_features;
  assert(source.read_four_bits && k % kInputs == 0);
  FourBitWeights w(n, k);
  absl::StatusOr<Buffer> blocks =
      slabs.Allocate(w.output_blocks() * w.input_blocks() * sizeof(Block));
  if (!blocks.ok()) return blocks.status();
  w.blocks_ = *std::move(blocks);
  const int64_t groups = w.input_blocks();
  pool.ParallelFor(w.output_blocks(), [&](int64_t b, int thread) {
    const int64_t count = std::min(kOutputs, n - b * kOutputs);
    auto* const scales = scratch[thread].Floats(kOutputs * (2 * groups + k / sizeof(float)));
    float* const minima = scales + kOutputs * groups;
    auto* const codes = reinterpret_cast<uint8_t*>(minima + kOutputs * groups);
    source.read_four_bits(b * kOutputs, count, {codes, scales, minima});
    auto* const to = const_cast<Block*>(w.Outputs(b));
    for (int64_t group = 0; group < groups; ++group) {
      Block& block = to[group];
      if (count < kOutputs) block = Block{};
      for (int64_t i = 0; i < count; ++i) {
        PutCodes(codes + i * k + group * kInputs, i, block);
        block.scales[i] = F32ToHalf(scales[i * groups + group]);
        block.minima[i] = F32ToHalf(minima[i * groups + group]);
      }
    }
  });
  return w;
}

void FourBitWeights::Read(int64_t row, float* out) const {
  const Block* block = Outputs(row / kOutputs);
  const int64_t output = row % kOutputs;
  for (int64_t group = 0; group < input_blocks(); ++group, ++block, out += kInputs) {
    const float scale = HalfToF32(block->scales[output]);
    const float minimum = HalfToF32(block->minima[output]);
    for (int64_t i = 0; i < kInputs; ++i) {
      const uint32_t word = block->codes[i % 16 / 4][output];
      out[i] = scale * static_cast<float>(word >> (8 * (i % 4) + i / 16 * 4) & 15) + minimum;
    }
  }
}

}  // namespace skipserve::cpu
