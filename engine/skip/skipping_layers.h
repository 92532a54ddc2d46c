// The skipping phase of a prefill: METHOD's seven steps, layer after layer, for one sequence at a
// time. What lives on between two slices of a sequence is its SkipState; the scratch here serves
// one layer. One thread at a time.
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
};

class SkippingLayers {
 public:
  // `proxies`: as FfnProbe wants them. RESOURCE_EXHAUSTED where the scratch does not fit in memory.
  static absl::StatusOr<std::unique_ptr<SkippingLayers>> Create(
      Decoder& decoder, const std::vector<LayerProxy>& proxies);

  // Runs layer `layer`, whose KV cache (empty so far) is `blocks`. `rows`, if not null, receives
  // the active positions.
  absl::Status Run(int32_t layer, SkipState& state, IndexView blocks, const KvPool& pool,
                   LayerRows* rows);

 private:
  explicit SkippingLayers(Decoder& decoder) : decoder_(decoder) {}
  absl::Status Reserve(int64_t candidates);
  void Probe(int32_t layer, SkipState& state, TensorView x, IndexView candidates);
  void ProjectKeys(int32_t layer, TensorView x, IndexView candidates);
  IndexView Select(const float* scores, IndexView candidates, int64_t count,
                   const SkipPolicy& policy, int32_t* positions);
  void AttendActive(int32_t layer, TensorView x, IndexView active, bool gather_keys,
                    IndexView blocks, const KvPool& pool);
  void FeedActive(int32_t layer, TensorView x, IndexView active);

  Decoder& decoder_;
  std::unique_ptr<AttentionProbe> attention_probe_;
  std::unique_ptr<FfnProbe> ffn_probe_;

  // Scratch for one layer, grown to the longest prompt seen.
  int64_t reserved_ = 0;
  Buffer keys_;                   // [candidates, kv_heads * head_dim]
  Buffer new_score_, ffn_score_;  // [candidates]
  Buffer rows_;                   // candidate rows chosen
  Buffer active_, active_ffn_;    // their positions
  Buffer h_, piece_keys_;         // [max_rows, ...]
};

}  // namespace skipserve
