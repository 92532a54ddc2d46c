// LTP, Low-rank Transformation Probing: how much a layer's FFN would change every candidate, from a
// tiny proxy of it.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/decoder.h"
#include "engine/skip/policy.h"
#include "engine/skip/proxy.h"

namespace skipserve {

class FfnProbe {
 public:
  // `proxies`: one per layer, or none, and then Score with kProduct must not be asked for.
  static absl::StatusOr<std::unique_ptr<FfnProbe>> Create(Decoder& decoder,
                                                          const std::vector<LayerProxy>& proxies);

  // out[i] = c[i] * s[i], c[i] the norm of FFN(norm(x[candidates[i]])): predicted by the proxy for
  // kProduct, of the FFN itself for kExact. Not for kAttention, whose score is s.
  void Score(int32_t layer, TensorView x, IndexView candidates, FfnScore kind, const float* s,
             float* out);

 private:
  // A proxy in the backend: a = silu(h G_a G_b) * (h U_a U_b), c = sqrt(a gram a^T).
  struct Proxy {
    std::unique_ptr<Weight> a;             // [2 * rank, width], gate first
    std::unique_ptr<Weight> gate_b, up_b;  // [d_low, rank]
    std::unique_ptr<Weight> gram;          // [d_low, d_low]
  };

  explicit FfnProbe(Decoder& decoder) : decoder_(decoder) {}
  void Product(int32_t layer, TensorView h, float* out);

  Decoder& decoder_;
  std::vector<Proxy> proxies_;
  int32_t d_low_ = 0, rank_ = 0;
  Buffer h_, delta_, low_, gate_up_, activated_, projected_;  // [max_rows, ...]
};

}  // namespace skipserve
