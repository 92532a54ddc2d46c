// The skipping phase of a prefill: METHOD's seven steps, layer after layer, in slices that may end
// inside a layer. What lives on between two slices of a sequence is its SkipState; the scratch here
// serves one call. One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/decoder.h"
#include "engine/request.h"
#include "engine/skip/ltp.h"
#include "engine/skip/msdp.h"
#include "engine/skip/pap.h"
#include "engine/skip/plan.h"

namespace skipserve {

// One sequence in its prefill: the hidden states of the whole prompt and the candidates still in
// play.
struct SkipState {
  SkipPolicy policy;
  SkipPlan plan;
  Buffer hidden;  // [prompt_tokens, width]
  CandidateSet candidates;
  bool probed = false;  // the candidates have scores

  // Of the layer that it is in: the positions that attend and that feed forward, and K of the
  // former where a probe has computed it.
  IndexView active, fed;
  Buffer active_memory, fed_memory;  // [the largest layer's active]
  Buffer keys;                       // likewise [, kv_heads * head_dim]
};

class SkippingLayers {
 public:
  // `proxies`: as FfnProbe wants them. RESOURCE_EXHAUSTED where the scratch does not fit in memory.
  static absl::StatusOr<std::unique_ptr<SkippingLayers>> Create(
      Decoder& decoder, const std::vector<LayerProxy>& proxies);

  // What a sequence's skipping layers need of memory beside `plan.prompt_tokens` hidden states,
  // which are the caller's to fill before the first Run. RESOURCE_EXHAUSTED without it.
  absl::StatusOr<SkipState> Begin(SkipPolicy policy, SkipPlan plan) const;

  // Rows [row_begin, row_end) of layer `layer`, of twice as many as its plan has active: first all
  // attend, then all feed forward. Calls come in this order, without gaps. `blocks`: the layer's KV
  // cache, which holds what the calls before have written; it has room for the rows that attend.
  // `rows`, if not null, receives the active positions with the layer's last row.
  absl::Status Run(int32_t layer, int64_t row_begin, int64_t row_end, SkipState& state,
                   IndexView blocks, const KvPool& pool, LayerRows* rows);

 private:
  explicit SkippingLayers(Decoder& decoder) : decoder_(decoder) {}
  absl::Status Reserve(int64_t candidates);
  void ChooseActive(int32_t layer, SkipState& state, TensorView x);
  void ChooseFed(int32_t layer, SkipState& state, TensorView x);
  void Probe(int32_t layer, SkipState& state, TensorView x, IndexView candidates);
  void ProjectKeys(int32_t layer, TensorView x, IndexView candidates);
  IndexView Select(const float* scores, const SkipState& state, int64_t count, int32_t* positions);
  void Attend(int32_t layer, SkipState& state, TensorView x, int64_t begin, int64_t end,
              IndexView blocks, const KvPool& pool);
  void Feed(int32_t layer, const SkipState& state, TensorView x, int64_t begin, int64_t end);

  Decoder& decoder_;
  std::unique_ptr<AttentionProbe> attention_probe_;
  std::unique_ptr<FfnProbe> ffn_probe_;

  // Scratch for one call, grown to the longest prompt seen.
  int64_t reserved_ = 0;
  Buffer keys_;                   // [candidates, kv_heads * head_dim]
  Buffer new_score_, ffn_score_;  // [candidates]
  Buffer rows_;                   // candidate rows chosen
  Buffer h_;                      // [max_rows, width]
};

}  // namespace skipserve
