// The offline half of LTP: how a layer's FFN becomes a low-rank proxy of itself. Plain host maths;
// running the model over calibration texts is the caller's. Builds of different layers share
// nothing and may run in parallel; one ChannelImportance belongs to one thread at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/skip/plan.h"
#include "kernels/ops.h"

namespace skipserve {

// With a = silu(h gate_a^T gate_b^T) * (h up_a^T up_b^T), the FFN's change of a token with normed
// input h has about the norm sqrt(a gram a^T). Every matrix is [out_features, in_features].
struct LayerProxy {
  int32_t width = 0;
  int32_t d_low = 0;  // FFN channels kept
  int32_t rank = 0;
  std::vector<float> gate_a;  // [rank, width]
  std::vector<float> gate_b;  // [d_low, rank]
  std::vector<float> up_a;    // [rank, width]
  std::vector<float> up_b;    // [d_low, rank]
  std::vector<float> gram;    // [d_low, d_low], W_down'^T W_down' over the kept channels

  bool operator==(const LayerProxy&) const = default;
};

// Importance of each FFN channel: the mean of the largest `rho` of its saliencies, exact over all
// rows seen. Holds about 1.25 * rho * max_rows * channels floats, whatever the texts' length.
class ChannelImportance {
 public:
  ChannelImportance(int32_t channels, int64_t max_rows, double rho = 0.2);

  // activations [rows, channels]: silu(gate) * up of some tokens; a saliency is the absolute value,
  // NaN counts as 0. Rows past `max_rows` are ignored.
  void Add(absl::Span<const float> activations);

  int64_t rows() const { return rows_; }

  // One value per channel; zeros before the first row. Does not end the collection.
  std::vector<float> Importance() const;

 private:
  // A channel's largest saliencies; those at or below `floor` cannot be among the `top_` largest.
  struct Channel {
    int64_t count = 0;
    float floor = -1.0f;
  };
  void Insert(int32_t channel, float saliency);

  int64_t max_rows_;
  double rho_;
  int64_t top_;       // saliencies that count, once max_rows are in
  int64_t capacity_;  // kept per channel between two clean-ups
  int64_t rows_ = 0;
  std::vector<Channel> channels_;
  std::vector<float> values_;  // [channels, capacity]
};

struct FfnWeights {
  WeightSource gate;  // [ffn_width, width]
  WeightSource up;    // [ffn_width, width]
  WeightSource down;  // [width, ffn_width]
};

// Keeps the d_low most important channels (ties to the lower) and factors the kept gate and up
// matrices by truncated SVD. INVALID_ARGUMENT where the shapes do not fit each other or a weight is
// not finite.
absl::StatusOr<LayerProxy> BuildProxy(const FfnWeights& ffn, absl::Span<const float> importance,
                                      ProxyShape shape);

}  // namespace skipserve
