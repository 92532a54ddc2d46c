#include "engine/skip/pap.h"

#include <algorithm>
#include <utility>

#include "engine/status_macros.h"

namespace skipserve {

absl::StatusOr<std::unique_ptr<AttentionProbe>> AttentionProbe::Create(Decoder& decoder) {
  const ModelConfig& c = decoder.config();
  ASSIGN_OR_RETURN(Buffer h, decoder.ops().Allocate(kMaxProbeWindow * c.width * sizeof(float)));
  ASSIGN_OR_RETURN(Buffer qv,
                   decoder.ops().Allocate(kMaxProbeWindow * (decoder.q_cols() + decoder.kv_cols()) *
                                          sizeof(float)));
  return std::unique_ptr<AttentionProbe>(new AttentionProbe(decoder, std::move(h), std::move(qv)));
}

void AttentionProbe::Score(int32_t layer, TensorView x, IndexView candidates, TensorView k,
                           const SkipPolicy& policy, float* scores) {
  const ModelConfig& c = decoder_.config();
  const int64_t window = std::min<int64_t>(policy.window, candidates.size);
  const IndexView last = candidates.Slice(candidates.size - window, window);
  const TensorView h(h_.f32(), window, c.width);
  const TensorView qv(qv_.f32(), window, decoder_.q_cols() + decoder_.kv_cols());
  decoder_.AttentionInput(layer, x, last, h);
  decoder_.ProjectQV(layer, h, last, qv);

  ProbeParams params;
  params.heads = c.heads;
  params.kv_heads = c.kv_heads;
  params.head_dim = c.head_dim;
  params.window_reduce = policy.window_reduce;
  params.head_reduce = policy.head_reduce;
  params.pool = policy.pool;
  decoder_.ops().ProbeScores(qv.Cols(0, decoder_.q_cols()), k, params, scores);
}

}  // namespace skipserve
