// PAP, Partial Attention Probing: how much the end of the prompt attends to every candidate of a
// layer.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "engine/decoder.h"
#include "engine/skip/policy.h"

namespace skipserve {

class AttentionProbe {
 public:
  static absl::StatusOr<std::unique_ptr<AttentionProbe>> Create(Decoder& decoder);

  // scores[i] of candidate i, the row candidates[i] of x. k [candidates, kv_heads * head_dim] with
  // RoPE. The queries are the last policy.window candidates'; the last one is the prompt's last
  // token.
  void Score(int32_t layer, TensorView x, IndexView candidates, TensorView k,
             const SkipPolicy& policy, float* scores);

 private:
  AttentionProbe(Decoder& decoder, Buffer h, Buffer qv)
      : decoder_(decoder), h_(std::move(h)), qv_(std::move(qv)) {}
  Decoder& decoder_;
  Buffer h_, qv_;  // [kMaxWindow, ...]
};

}  // namespace skipserve
