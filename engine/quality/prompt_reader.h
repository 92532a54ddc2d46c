// One prompt, read densely once and then again under any number of policies. The dense read's KV
// and the hidden states that enter chosen layers are kept, so a policy costs its skipping layers
// alone. For measuring, not for serving: one prompt at a time, one thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "engine/decoder.h"
#include "engine/skip/plan.h"
#include "engine/skip/skipping_layers.h"

namespace skipserve {

class PromptReader {
 public:
  // `decoder` and `proxies` outlive it. `max_tokens`: of a prompt and what follows it together.
  // RESOURCE_EXHAUSTED without memory for two such contexts.
  static absl::StatusOr<std::unique_ptr<PromptReader>> Create(
      Decoder& decoder, const std::vector<LayerProxy>& proxies, DType dtype, int64_t max_tokens,
      std::function<absl::Time()> now);

  // Reads `prompt` (1 .. max_tokens tokens) densely and keeps the states that enter the layers
  // `starts`: the starts of the policies to come.
  absl::Status ReadDense(absl::Span<const int32_t> prompt, absl::Span<const int32_t> starts);

  // The same prompt under a policy whose start was among `starts`; under a dense plan, as ReadDense
  // left it. `rows`, if not null, receives the active positions of the skipping layers.
  absl::Status Read(const SkipPolicy& policy, const SkipPlan& plan, std::vector<LayerRows>* rows);

  // Forces `answer` on the model after the prompt as it was last read: row i of the result [answer
  // size, vocab_size] has the logits for answer[i]. May be called again.
  absl::StatusOr<std::vector<float>> Force(absl::Span<const int32_t> answer);

  // The greedy answer to the prompt as it was last read: ends with a token of `stop_ids`, which is
  // part of it, or after max_new_tokens.
  absl::StatusOr<std::vector<int32_t>> Answer(int64_t max_new_tokens,
                                              absl::Span<const int32_t> stop_ids);

  int64_t prompt_tokens() const { return prompt_tokens_; }

  // How long the last Read took with the layers before its start, as the dense read took for them.
  // Meaningful on backends that compute before they return.
  absl::Duration prefill_time() const { return prefill_time_; }

 private:
  PromptReader(Decoder& decoder, int64_t max_tokens, std::function<absl::Time()> now)
      : decoder_(decoder), max_tokens_(max_tokens), now_(std::move(now)) {}
  IndexView Blocks(int32_t layer, bool skipped) const;
  void Layers(absl::Span<const int32_t> ids, int64_t position, TensorView x, Phase phase,
              const std::map<int32_t, Buffer>* keep);

  Decoder& decoder_;
  const int64_t max_tokens_;
  const std::function<absl::Time()> now_;
  std::unique_ptr<SkippingLayers> skipping_;
  KvPool pool_;
  Buffer kv_;                // the dense read's KV of every layer, then the skipping layers' own
  Buffer index_;             // 0, 1, ...: positions and block ids alike
  Buffer ids_, x_, logits_;  // scratch of one batch of rows
  int64_t blocks_per_layer_ = 0;

  int64_t prompt_tokens_ = 0;
  std::map<int32_t, Buffer> states_;         // by start: [prompt_tokens, width]
  std::vector<int64_t> kv_tokens_;           // by layer: prompt tokens cached
  int32_t trunk_layers_ = 0;                 // layers from here on have their own KV
  std::vector<float> first_logits_;          // after the prompt as it was last read
  std::vector<float> dense_logits_;          // after the dense read
  std::vector<absl::Duration> dense_times_;  // by layer
  absl::Duration prefill_time_;
};

}  // namespace skipserve
