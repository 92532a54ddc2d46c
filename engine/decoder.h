// The one decoder: a Llama-shaped transformer over a ragged batch of rows, with a paged KV cache.
// It knows nothing of requests, and nothing of skipping but that a caller may hand it some rows of
// x. One thread at a time.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/decoder_weights.h"
#include "engine/model_config.h"
#include "kernels/ops.h"

namespace skipserve {

// What the rows of a batch are: tokens of prompts, or the next token of several sequences. Each
// kind is computed in its own way, which no other row and no number of rows changes: an answer does
// not depend on who shares its steps.
enum class Phase { kPrefill, kDecode };

// Where the rows of a batch stand: positions[i] is row i's place in its prompt (its RoPE angle),
// and the segments say which cache its K and V go to.
struct AttentionBatch {
  IndexView positions;
  absl::Span<const KvSegment> segments;
  const KvPool* pool = nullptr;
  Phase phase = Phase::kPrefill;
};

class Decoder {
 public:
  // `max_rows`: the largest batch of any call; scratch memory is allocated for it once.
  static absl::StatusOr<std::unique_ptr<Decoder>> Create(const ModelConfig& config,
                                                         DecoderWeights weights, int64_t max_rows,
                                                         Ops& ops);

  // x[i] = embedding of ids[i].
  void Embed(IndexView ids, TensorView x);

  // One layer for all rows of x [num_rows, width]: K and V enter the cache, x takes both residuals.
  void Layer(int32_t layer, TensorView x, const AttentionBatch& batch);

  // The layer's halves over chosen rows of x. With empty `rows`, all of x, else row i of the batch
  // is x[rows[i]]. `k_rows`, if not null, is K of the batch's rows, RoPE applied, and is not
  // computed again.
  void Attend(int32_t layer, TensorView x, IndexView rows, const AttentionBatch& batch,
              const TensorView* k_rows);
  void FeedForward(int32_t layer, TensorView x, IndexView rows, Phase phase = Phase::kPrefill);

  // Their inputs: out = norm(x[rows]), and from it K with RoPE, or Q (the first heads * head_dim
  // columns of qv, which has V behind it) with RoPE.
  void AttentionInput(int32_t layer, TensorView x, IndexView rows, TensorView out);
  void FeedForwardInput(int32_t layer, TensorView x, IndexView rows, TensorView out);
  void ProjectK(int32_t layer, TensorView h, IndexView positions, TensorView k);
  void ProjectQV(int32_t layer, TensorView h, IndexView positions, TensorView qv);
  // The FFN's hidden activations silu(W_gate h) * (W_up h), out [num_rows, ffn_width]; their sizes
  // are a channel's saliency.
  void FeedForwardHidden(int32_t layer, TensorView h, TensorView out,
                         Phase phase = Phase::kPrefill);
  // out = FFN(h), no residual. h, out [num_rows, width].
  void FeedForwardDelta(int32_t layer, TensorView h, TensorView out, Phase phase = Phase::kPrefill);

  // logits [rows.size, vocab_size] of x[rows], at most Ops::kMaxDecodeRows of them.
  void Logits(TensorView x, IndexView rows, TensorView logits);

  const ModelConfig& config() const { return config_; }
  int64_t max_rows() const { return max_rows_; }
  int64_t q_cols() const { return int64_t{config_.heads} * config_.head_dim; }
  int64_t kv_cols() const { return int64_t{config_.kv_heads} * config_.head_dim; }
  Ops& ops() { return ops_; }

 private:
  Decoder(const ModelConfig& config, DecoderWeights weights, int64_t max_rows, Ops& ops)
      : config_(config), weights_(std::move(weights)), max_rows_(max_rows), ops_(ops) {}
  absl::Status AllocateScratch();
  void MatMul(TensorView a, const Weight& w, TensorView out, Phase phase);
  // Bias, and RoPE by the tokens' positions.
  void PlaceK(int32_t layer, IndexView positions, TensorView k);
  void PlaceQV(int32_t layer, IndexView positions, TensorView qv);

  const ModelConfig config_;
  DecoderWeights weights_;
  const int64_t max_rows_;
  Ops& ops_;

  // Scratch of one call, by the names of the equations: [max_rows, ...] of rows of prompts,
  // [kHiddenRows, ...] of an FFN's hidden ones, and h of a decode step alone.
  Buffer k_, qv_, attended_;
  Buffer gate_up_, activated_;
  Buffer h_;
};

}  // namespace skipserve
