// A weight matrix [n, k] in bf16 as the machine's dot products take it: neighbouring inputs as
// pairs, in blocks of 64 outputs and 32 inputs, [n / 64, k / 32, 16 pairs, 64, 2], zeros in what the
// last blocks have too many. It is oneDNN's BA16a64b2a of W^T, and the only copy: prompts, decode
// steps and lookups all read it. Immutable.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/host_memory.h"
#include "kernels/ops.h"

namespace skipserve::cpu {

class PairedWeights {
 public:
  static constexpr int64_t kOutputs = 64;  // of a block
  static constexpr int64_t kInputs = 32;
  static constexpr int64_t kBlock = kOutputs * kInputs;

  // RESOURCE_EXHAUSTED without memory for it.
  static absl::StatusOr<PairedWeights> Pack(const WeightSource& source, HostSlabs& slabs,
                                            ThreadPool& pool, std::vector<Scratch>& scratch);

  int64_t n() const { return n_; }
  int64_t k() const { return k_; }
  size_t bytes() const { return blocks_.bytes(); }
  int64_t output_blocks() const { return (n_ + kOutputs - 1) / kOutputs; }
  int64_t input_blocks() const { return (k_ + kInputs - 1) / kInputs; }
  // The blocks of the outputs [64 b, 64 b + 64), one after the other.
  const uint16_t* Outputs(int64_t b) const {
    return static_cast<const uint16_t*>(blocks_.data()) + b * input_blocks() * kBlock;
  }

  // Row `row` [k] in float32.
  void Read(int64_t row, float* out) const;

 private:
  PairedWeights(int64_t n, int64_t k, Buffer blocks)
      : n_(n), k_(k), blocks_(std::move(blocks)) {}

  int64_t n_;
  int64_t k_;
  Buffer blocks_;
};

}  // namespace skipserve::cpu
