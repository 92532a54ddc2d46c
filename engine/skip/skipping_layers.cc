#include "engine/skip/skipping_layers.h"

#include <algorithm>
#include <utility>

#include "engine/status_macros.h"

namespace skipserve {
namespace {

std::vector<int32_t> ToHost(IndexView index, Ops& ops) {
  std::vector<int32_t> host(index.size);
  ops.Download(index.data, host.data(), host.size() * sizeof(int32_t));
  return host;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SkippingLayers>> SkippingLayers::Create(
    Decoder& decoder, const std::vector<LayerProxy>& proxies) {
  Ops& ops = decoder.ops();
  auto layers = std::unique_ptr<SkippingLayers>(new SkippingLayers(decoder));
  ASSIGN_OR_RETURN(layers->attention_probe_, AttentionProbe::Create(decoder));
  ASSIGN_OR_RETURN(layers->ffn_probe_, FfnProbe::Create(decoder, proxies));
  ASSIGN_OR_RETURN(layers->h_,
                   ops.Allocate(decoder.max_rows() * decoder.config().width * sizeof(float)));
  ASSIGN_OR_RETURN(layers->piece_keys_,
                   ops.Allocate(decoder.max_rows() * decoder.kv_cols() * sizeof(float)));
  return layers;
}

absl::Status SkippingLayers::Reserve(int64_t candidates) {
  if (candidates <= reserved_) return absl::OkStatus();
  Ops& ops = decoder_.ops();
  reserved_ = 0;
  ASSIGN_OR_RETURN(keys_, ops.Allocate(candidates * decoder_.kv_cols() * sizeof(float)));
  for (Buffer* b : {&new_score_, &ffn_score_, &rows_, &active_, &active_ffn_}) {
    ASSIGN_OR_RETURN(*b, ops.Allocate(candidates * sizeof(float)));
  }
  reserved_ = candidates;
  return absl::OkStatus();
}

absl::Status SkippingLayers::Run(int32_t layer, SkipState& state, IndexView blocks,
                                 const KvPool& pool, LayerRows* rows) {
  const SkipPolicy& policy = state.policy;
  const LayerPlan& plan = state.plan.layers[layer];
  const TensorView x(state.hidden.f32(), state.plan.prompt_tokens, decoder_.config().width);
  const IndexView candidates = state.candidates.positions();
  RETURN_IF_ERROR(Reserve(candidates.size));

  if (plan.probes) Probe(layer, state, x, candidates);
  if (!plan.skips() && !plan.probes) {
    AttendActive(layer, x, candidates, /*gather_keys=*/false, blocks, pool);
    FeedActive(layer, x, candidates);
    if (rows) rows->attention = rows->ffn = ToHost(candidates, decoder_.ops());
    return absl::OkStatus();
  }

  // A layer that only probes goes the same way, so that its keys are not projected twice.
  const float* const s = state.candidates.scores();
  const IndexView active = Select(s, candidates, plan.active, policy, active_.i32());
  AttendActive(layer, x, active, /*gather_keys=*/plan.probes, blocks, pool);

  IndexView active_ffn = active;
  if (plan.skips() && policy.ffn_score != FfnScore::kAttention) {
    ffn_probe_->Score(layer, x, candidates, policy.ffn_score, s, ffn_score_.f32());
    active_ffn = Select(ffn_score_.f32(), candidates, plan.active, policy, active_ffn_.i32());
  }
  FeedActive(layer, x, active_ffn);
  if (rows) *rows = {ToHost(active, decoder_.ops()), ToHost(active_ffn, decoder_.ops())};
  if (plan.keep < candidates.size) {
    state.candidates.Cut(plan.keep, policy, rows_.i32(), decoder_.ops());
  }
  return absl::OkStatus();
}

// PAP, and what is remembered of earlier layers' scores.
void SkippingLayers::Probe(int32_t layer, SkipState& state, TensorView x, IndexView candidates) {
  const SkipPolicy& policy = state.policy;
  float* const scores = state.candidates.scores();
  const bool remembers = policy.memory > 0 && state.probed;
  float* const now = remembers ? new_score_.f32() : scores;
  ProjectKeys(layer, x, candidates);
  attention_probe_->Score(layer, x, candidates,
                          TensorView(keys_.f32(), candidates.size, decoder_.kv_cols()), policy,
                          now);
  if (remembers) {
    decoder_.ops().MaxScaled(now, scores, static_cast<float>(policy.memory), candidates.size,
                             scores);
  }
  state.probed = true;
}

// K of every candidate, with RoPE at its own position.
void SkippingLayers::ProjectKeys(int32_t layer, TensorView x, IndexView candidates) {
  const TensorView keys(keys_.f32(), candidates.size, decoder_.kv_cols());
  for (int64_t begin = 0; begin < candidates.size; begin += decoder_.max_rows()) {
    const IndexView piece =
        candidates.Slice(begin, std::min(decoder_.max_rows(), candidates.size - begin));
    const TensorView h(h_.f32(), piece.size, decoder_.config().width);
    decoder_.AttentionInput(layer, x, piece, h);
    decoder_.ProjectK(layer, h, piece, keys.Rows(begin, piece.size));
  }
}

// The positions of the `count` best candidates; their rows among the candidates are left in rows_.
IndexView SkippingLayers::Select(const float* scores, IndexView candidates, int64_t count,
                                 const SkipPolicy& policy, int32_t* positions) {
  Ops& ops = decoder_.ops();
  ops.SelectTop(scores, candidates.size, count, policy.sink, LastOf(policy, count), rows_.i32());
  ops.GatherIndex(candidates, IndexView{rows_.i32(), count}, positions);
  return {positions, count};
}

// Attention among the active tokens only, whose K and V alone enter the cache (instant KV
// compression).
void SkippingLayers::AttendActive(int32_t layer, TensorView x, IndexView active, bool gather_keys,
                                  IndexView blocks, const KvPool& pool) {
  for (int64_t begin = 0; begin < active.size; begin += decoder_.max_rows()) {
    const IndexView piece = active.Slice(begin, std::min(decoder_.max_rows(), active.size - begin));
    const KvSegment segment{0, piece.size, begin + piece.size, blocks};
    const AttentionBatch batch{piece, {&segment, 1}, &pool};
    if (!gather_keys) {
      decoder_.Attend(layer, x, piece, batch, nullptr);
      continue;
    }
    const TensorView keys(piece_keys_.f32(), piece.size, decoder_.kv_cols());
    decoder_.ops().GatherRows(TensorView(keys_.f32(), reserved_, decoder_.kv_cols()),
                              IndexView{rows_.i32() + begin, piece.size}, keys);
    decoder_.Attend(layer, x, piece, batch, &keys);
  }
}

void SkippingLayers::FeedActive(int32_t layer, TensorView x, IndexView active) {
  for (int64_t begin = 0; begin < active.size; begin += decoder_.max_rows()) {
    decoder_.FeedForward(layer, x,
                         active.Slice(begin, std::min(decoder_.max_rows(), active.size - begin)));
  }
}

}  // namespace skipserve
