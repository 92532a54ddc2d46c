// Products of prompts for machines that multiply bf16 fast, where float32 GEMM reaches half the
// rate or less, and of int8 for those with VNNI or AMX: oneDNN's matmul over tiled weights, or over
// those of 4 bits, which each thread widens to tiles of bf16 panel by panel. What comes before and
// after a product is done on a tile of rows while it is in the cache. Immutable; run by one thread
// at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "kernels/cpu/four_bit_weights.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/cpu/tiled_weights.h"
#include "kernels/tensor.h"

namespace skipserve::cpu {

class PackedGemm {
 public:
  virtual ~PackedGemm() = default;

  // Rows x[rows[i]], or all of x where there are none; with a gain they are normalised (RmsNorm).
  struct Input {
    TensorView x;
    IndexView rows{};
    const float* gain = nullptr;
    float eps = 0;
  };
  // Where row i goes: to x[rows[i]], or row i; added to what is there or in its place.
  struct Output {
    TensorView x;
    IndexView rows{};
    bool add = false;
  };

  // `gated`: W is a gate's rows and as many more of what it lets through; each must fill whole
  // blocks of the tiled weights. Null where oneDNN has no such product here. `w` outlives it.
  static std::unique_ptr<PackedGemm> Make(const TiledWeights& w, bool gated);
  static std::unique_ptr<PackedGemm> Make(const FourBitWeights& w, bool gated);

  struct Product {
    const PackedGemm* w = nullptr;
    Output out;
  };
  // Whether Run takes them: none is null, and all multiply the same rounded rows.
  static bool Together(absl::Span<const Product> products);

  // Each out = a W^T, `a` rounded to the weights' type.
  static void Run(const Input& a, absl::Span<const Product> products, ThreadPool& pool,
                  std::vector<Scratch>& scratch);

  virtual bool gated() const = 0;
  // Whether FeedForward takes `down`: both multiply rows of one type.
  virtual bool Feeds(const PackedGemm& down) const = 0;
  // Where it is gated: out = (silu(gate) * up) W_down^T of the same product. `down` multiplies as
  // many inputs as there are gates.
  virtual void FeedForward(const Input& a, const PackedGemm& down, const Output& out,
                           ThreadPool& pool, std::vector<Scratch>& scratch) const = 0;
};

}  // namespace skipserve::cpu
