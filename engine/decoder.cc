#include "engine/decoder.h"

#include <algorithm>
#include <utility>

#include "absl/types/span.h"
#include "engine/status_macros.h"
#include "kernels/chosen_rows.h"

namespace skipserve {
namespace {

// Of the FFN's hidden activations where they are wanted in memory.
constexpr int64_t kHiddenRows = 256;

TensorView Gain(const Buffer& b, int64_t cols) { return TensorView(b.f32(), 1, cols); }

}  // namespace

absl::StatusOr<std::unique_ptr<Decoder>> Decoder::Create(const ModelConfig& config,
                                                         DecoderWeights weights, int64_t max_rows,
                                                         Ops& ops) {
  auto decoder = std::unique_ptr<Decoder>(new Decoder(config, std::move(weights), max_rows, ops));
  RETURN_IF_ERROR(decoder->AllocateScratch());
  return decoder;
}

absl::Status Decoder::AllocateScratch() {
  const auto allocate = [&](Buffer& buffer, int64_t cols) -> absl::Status {
    ASSIGN_OR_RETURN(buffer, ops_.Allocate(max_rows_ * cols * sizeof(float)));
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(allocate(k_, kv_cols()));
  RETURN_IF_ERROR(allocate(qv_, q_cols() + kv_cols()));
  RETURN_IF_ERROR(allocate(attended_, q_cols()));
  ASSIGN_OR_RETURN(h_, ops_.Allocate(Ops::kMaxDecodeRows * int64_t{config_.width} * sizeof(float)));
  ASSIGN_OR_RETURN(gate_up_,
                   ops_.Allocate(kHiddenRows * 2 * int64_t{config_.ffn_width} * sizeof(float)));
  ASSIGN_OR_RETURN(activated_,
                   ops_.Allocate(kHiddenRows * int64_t{config_.ffn_width} * sizeof(float)));
  return absl::OkStatus();
}

void Decoder::Embed(IndexView ids, TensorView x) { ops_.Embed(*weights_.embedding, ids, x); }

void Decoder::Layer(int32_t layer, TensorView x, const AttentionBatch& batch) {
  Attend(layer, x, {}, batch, nullptr);
  FeedForward(layer, x, {}, batch.phase);
}

void Decoder::MatMul(TensorView a, const Weight& w, TensorView out, Phase phase) {
  if (phase == Phase::kPrefill) {
    ops_.MatMul(a, w, out);
  } else {
    ops_.DecodeMatMul(a, w, out);
  }
}

// x += W_o attention(q, K, V), with h = norm(x), q, v = h W_qv, k = h W_k.
void Decoder::Attend(int32_t layer, TensorView x, IndexView rows, const AttentionBatch& batch,
                     const TensorView* k_rows) {
  const int64_t n = batch.positions.size;
  const TensorView h(h_.f32(), n, config_.width);
  const TensorView qv(qv_.f32(), n, q_cols() + kv_cols());
  const TensorView q = qv.Cols(0, q_cols()), v = qv.Cols(q_cols(), kv_cols());
  const TensorView attended(attended_.f32(), n, q_cols());

  const LayerWeights& w = weights_.layers[layer];
  const TensorView k = k_rows ? *k_rows : TensorView(k_.f32(), n, kv_cols());
  const Projection both[] = {{w.qv.get(), qv}, {w.k.get(), k}};
  const auto projections = absl::MakeConstSpan(both, k_rows ? 1 : 2);
  if (batch.phase == Phase::kPrefill) {
    ops_.NormMatMul(x, rows, Gain(w.attention_norm, config_.width), config_.norm_eps, projections);
  } else {
    AttentionInput(layer, x, rows, h);
    for (const Projection& p : projections) ops_.DecodeMatMul(h, *p.w, p.out);
  }
  PlaceQV(layer, batch.positions, qv);
  if (!k_rows) PlaceK(layer, batch.positions, k);
  ops_.KvWrite(k, v, batch.segments, *batch.pool);
  if (batch.phase == Phase::kPrefill) {
    ops_.PrefillAttention(q, batch.segments, *batch.pool, attended);
    ops_.MatMulAdd(attended, *w.o, x, rows);
  } else {
    ops_.DecodeAttention(q, batch.segments, *batch.pool, attended);
    ops_.DecodeMatMul(attended, *w.o, h);
    ops_.AddRows(x, rows, h);
  }
}

// x += FFN(norm(x)).
void Decoder::FeedForward(int32_t layer, TensorView x, IndexView rows, Phase phase) {
  const LayerWeights& w = weights_.layers[layer];
  if (phase == Phase::kPrefill) {
    return ops_.FeedForward(
        x, rows,
        {Gain(w.ffn_norm, config_.width), config_.norm_eps, w.gate_up.get(), w.down.get()});
  }
  const TensorView h(h_.f32(), CountOf(x, rows), config_.width);
  FeedForwardInput(layer, x, rows, h);
  FeedForwardDelta(layer, h, h, phase);
  ops_.AddRows(x, rows, h);
}

void Decoder::AttentionInput(int32_t layer, TensorView x, IndexView rows, TensorView out) {
  ops_.RmsNorm(x, rows, Gain(weights_.layers[layer].attention_norm, config_.width),
               config_.norm_eps, out);
}

void Decoder::FeedForwardInput(int32_t layer, TensorView x, IndexView rows, TensorView out) {
  ops_.RmsNorm(x, rows, Gain(weights_.layers[layer].ffn_norm, config_.width), config_.norm_eps,
               out);
}

void Decoder::ProjectK(int32_t layer, TensorView h, IndexView positions, TensorView k) {
  ops_.MatMul(h, *weights_.layers[layer].k, k);
  PlaceK(layer, positions, k);
}

void Decoder::ProjectQV(int32_t layer, TensorView h, IndexView positions, TensorView qv) {
  ops_.MatMul(h, *weights_.layers[layer].qv, qv);
  PlaceQV(layer, positions, qv);
}

void Decoder::PlaceK(int32_t layer, IndexView positions, TensorView k) {
  const LayerWeights& w = weights_.layers[layer];
  if (w.k_bias.data()) ops_.AddBias(k, Gain(w.k_bias, k.cols));
  ops_.Rope(k, positions, weights_.rope.table, config_.head_dim);
}

void Decoder::PlaceQV(int32_t layer, IndexView positions, TensorView qv) {
  const LayerWeights& w = weights_.layers[layer];
  if (w.qv_bias.data()) ops_.AddBias(qv, Gain(w.qv_bias, qv.cols));
  ops_.Rope(qv.Cols(0, q_cols()), positions, weights_.rope.table, config_.head_dim);
}

void Decoder::FeedForwardHidden(int32_t layer, TensorView h, TensorView out, Phase phase) {
  for (int64_t row = 0; row < h.rows; row += kHiddenRows) {
    const int64_t n = std::min(kHiddenRows, h.rows - row);
    const TensorView gate_up(gate_up_.f32(), n, 2 * int64_t{config_.ffn_width});
    MatMul(h.Rows(row, n), *weights_.layers[layer].gate_up, gate_up, phase);
    ops_.SwiGlu(gate_up, out.Rows(row, n));
  }
}

// W_down (silu(W_gate h) * (W_up h)); out may be h.
void Decoder::FeedForwardDelta(int32_t layer, TensorView h, TensorView out, Phase phase) {
  for (int64_t row = 0; row < h.rows; row += kHiddenRows) {
    const int64_t n = std::min(kHiddenRows, h.rows - row);
    const TensorView activated(activated_.f32(), n, config_.ffn_width);
    FeedForwardHidden(layer, h.Rows(row, n), activated, phase);
    MatMul(activated, *weights_.layers[layer].down, out.Rows(row, n), phase);
  }
}

void Decoder::Logits(TensorView x, IndexView rows, TensorView logits) {
  const TensorView h(h_.f32(), CountOf(x, rows), config_.width);
  ops_.RmsNorm(x, rows, Gain(weights_.final_norm, config_.width), config_.norm_eps, h);
  ops_.DecodeMatMul(h, weights_.unembedding(), logits);
}

}  // namespace skipserve
