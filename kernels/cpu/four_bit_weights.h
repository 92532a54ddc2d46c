// A weight matrix [n, k] in 4 bits, k a multiple of 32, as decode steps read it: the only copy.
// Prompts widen a panel of it on its way into their products. Immutable.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/host_memory.h"
#include "kernels/ops.h"

namespace skipserve::cpu {

class FourBitWeights {
 public:
  static constexpr int64_t kOutputs = 64;  // of a block
  static constexpr int64_t kInputs = FourBitRows::kGroup;

  // Value = scale * code + minimum; of outputs past n all zeros. Byte b of word [j][o] has output
  // o's code for input 4 j + b in its low half and for input 16 + 4 j + b in its high half.
  struct Block {
    uint32_t codes[kInputs / 8][kOutputs];
    uint16_t scales[kOutputs];  // float16
    uint16_t minima[kOutputs];  // likewise
  };

  // `source` is in 4 bits. RESOURCE_EXHAUSTED without memory for it.
  static absl::StatusOr<FourBitWeights> Pack(const WeightSource& source, HostSlabs& slabs,
                                             ThreadPool& pool, std::vector<Scratch>& scratch);

  int64_t n() const { return n_; }
  int64_t k() const { return k_; }
  size_t bytes() const { return blocks_.bytes(); }
  int64_t output_blocks() const { return (n_ + kOutputs - 1) / kOutputs; }
  int64_t input_blocks() const { return k_ / kInputs; }
  // The blocks of the outputs [64 b, 64 b + 64), one after the other.
  const Block* Outputs(int64_t b) const {
    return static_cast<const Block*>(blocks_.data()) + b * input_blocks();
  }
  void Read(int64_t row, float* out) const;  // row `row` [k]

 private:
  FourBitWeights(int64_t n, int64_t k) : n_(n), k_(k) {}

  int64_t n_;
  int64_t k_;
  Buffer blocks_;
};

}  // namespace skipserve::cpu
