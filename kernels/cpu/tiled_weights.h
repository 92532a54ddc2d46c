// A weight matrix [n, k] as the machine's dot products take it: neighbouring inputs side by side in
// words of 32 bits, two of bf16 or four of int8, in blocks of 64 outputs and 16 words of inputs,
// [n / 64, k / (16 words), 16, 64] words, zeros in what the last blocks have too many. It is
// oneDNN's BA16a64b2a or BA16a64b4a of W^T, and the only copy: prompts, decode steps and lookups
// all read it. Of int8, value = scale of the output * code in the
// rotated row (RotateRow). Immutable.
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

class TiledWeights {
 public:
  static constexpr int64_t kOutputs = 64;  // of a block
  static constexpr int64_t kWords = 16;    // of inputs of a block
  static constexpr int64_t kBlockBytes = kOutputs * kWords * sizeof(uint32_t);

  // kBF16 or kInt8. RESOURCE_EXHAUSTED without memory for it.
  static absl::StatusOr<TiledWeights> Pack(const WeightSource& source, WeightType type,
                                           HostSlabs& slabs, ThreadPool& pool,
                                           std::vector<Scratch>& scratch);

  int64_t n() const { return n_; }
  int64_t k() const { return k_; }
  WeightType type() const { return type_; }
  size_t bytes() const { return blocks_.bytes() + scales_.bytes() + offsets_.bytes(); }
  // Whether sums of products of codes fit 32 bits, unsigned ones too: 255 * 127 * k.
  bool sums_fit() const { return k_ <= 65536; }
  int64_t per_word() const { return type_ == WeightType::kInt8 ? 4 : 2; }
  int64_t block_inputs() const { return kWords * per_word(); }
  int64_t output_blocks() const { return (n_ + kOutputs - 1) / kOutputs; }
  int64_t input_blocks() const { return (k_ + block_inputs() - 1) / block_inputs(); }
  int64_t padded_inputs() const { return input_blocks() * block_inputs(); }
  // The blocks of the outputs [64 b, 64 b + 64), one after the other.
  const uint32_t* Outputs(int64_t b) const {
    return static_cast<const uint32_t*>(blocks_.data()) + b * input_blocks() * kWords * kOutputs;
  }
  // Of int8, [n up to whole blocks]. An offset is what an output's sum has too much where what is
  // multiplied is unsigned (ToUnsigned).
  const float* scales() const { return scales_.f32(); }
  const int32_t* offsets() const { return static_cast<const int32_t*>(offsets_.data()); }

  // A row [k] as the weights are kept, in their type, to `to`. Returns its scale, of int8.
  float RoundRow(const float* from, void* to) const;

  // Row `row` [k] in float32, of int8 rotated back.
  void Read(int64_t row, float* out) const;

 private:
  TiledWeights(int64_t n, int64_t k, WeightType type) : n_(n), k_(k), type_(type) {}

  int64_t n_;
  int64_t k_;
  WeightType type_;
  Buffer blocks_;
  Buffer scales_;
  Buffer offsets_;
};

}  // namespace skipserve::cpu
