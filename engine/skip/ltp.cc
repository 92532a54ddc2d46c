#include "engine/skip/ltp.h"

#include <algorithm>
#include <utility>

#include "engine/status_macros.h"

namespace skipserve {
namespace {

// A host matrix [out_features, in_features] as a weight source.
WeightSource FromHost(const std::vector<float>& values, int64_t out_features, int64_t in_features) {
  return {out_features, in_features,
          [&values, in_features](int64_t begin, int64_t count, float* out) {
            std::copy_n(values.begin() + begin * in_features, count * in_features, out);
          }};
}

}  // namespace

absl::StatusOr<std::unique_ptr<FfnProbe>> FfnProbe::Create(Decoder& decoder,
                                                           const std::vector<LayerProxy>& proxies) {
  Ops& ops = decoder.ops();
  const int64_t width = decoder.config().width;
  auto probe = std::unique_ptr<FfnProbe>(new FfnProbe(decoder));
  const auto allocate = [&](Buffer& buffer, int64_t cols) -> absl::Status {
    ASSIGN_OR_RETURN(buffer, ops.Allocate(decoder.max_rows() * cols * sizeof(float)));
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(allocate(probe->h_, width));
  RETURN_IF_ERROR(allocate(probe->delta_, width));
  if (proxies.empty()) return probe;

  const int64_t d_low = probe->d_low_ = proxies[0].d_low, rank = probe->rank_ = proxies[0].rank;
  for (const LayerProxy& p : proxies) {
    Proxy proxy;
    std::vector<float> a = p.gate_a;
    a.insert(a.end(), p.up_a.begin(), p.up_a.end());
    ASSIGN_OR_RETURN(proxy.a,
                     ops.LoadWeight(FromHost(a, 2 * rank, width), WeightType::kF32, WeightUse::kAll));
    ASSIGN_OR_RETURN(proxy.gate_b,
                     ops.LoadWeight(FromHost(p.gate_b, d_low, rank), WeightType::kF32, WeightUse::kAll));
    ASSIGN_OR_RETURN(proxy.up_b,
                     ops.LoadWeight(FromHost(p.up_b, d_low, rank), WeightType::kF32, WeightUse::kAll));
    ASSIGN_OR_RETURN(proxy.gram,
                     ops.LoadWeight(FromHost(p.gram, d_low, d_low), WeightType::kF32, WeightUse::kAll));
    probe->proxies_.push_back(std::move(proxy));
  }
  RETURN_IF_ERROR(allocate(probe->low_, 2 * rank));
  RETURN_IF_ERROR(allocate(probe->gate_up_, 2 * d_low));
  RETURN_IF_ERROR(allocate(probe->activated_, d_low));
  RETURN_IF_ERROR(allocate(probe->projected_, d_low));
  return probe;
}

void FfnProbe::Score(int32_t layer, TensorView x, IndexView candidates, FfnScore kind,
                     const float* s, float* out) {
  Ops& ops = decoder_.ops();
  for (int64_t begin = 0; begin < candidates.size; begin += decoder_.max_rows()) {
    const IndexView rows =
        candidates.Slice(begin, std::min(decoder_.max_rows(), candidates.size - begin));
    const TensorView h(h_.f32(), rows.size, decoder_.config().width);
    decoder_.FeedForwardInput(layer, x, rows, h);
    if (kind == FfnScore::kExact) {
      const TensorView delta(delta_.f32(), rows.size, h.cols);
      decoder_.FeedForwardDelta(layer, h, delta);
      ops.RowDotSqrt(delta, delta, out + begin);
    } else {
      Product(layer, h, out + begin);
    }
  }
  ops.Multiply(out, s, candidates.size, out);
}

// ||a W_down'|| = sqrt(a G a^T): no vector of the model's width is formed.
void FfnProbe::Product(int32_t layer, TensorView h, float* out) {
  Ops& ops = decoder_.ops();
  const Proxy& p = proxies_[layer];
  const TensorView low(low_.f32(), h.rows, 2 * rank_);
  const TensorView gate_up(gate_up_.f32(), h.rows, 2 * d_low_);
  const TensorView a(activated_.f32(), h.rows, d_low_), ag(projected_.f32(), h.rows, d_low_);
  ops.MatMul(h, *p.a, low);
  ops.MatMul(low.Cols(0, rank_), *p.gate_b, gate_up.Cols(0, d_low_));
  ops.MatMul(low.Cols(rank_, rank_), *p.up_b, gate_up.Cols(d_low_, d_low_));
  ops.SwiGlu(gate_up, a);
  ops.MatMul(a, *p.gram, ag);
  ops.RowDotSqrt(a, ag, out);
}

}  // namespace skipserve
