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
  return layers;
}

absl::Status SkippingLayers::Reserve(int64_t candidates) {
  if (candidates <= reserved_) return absl::OkStatus();
  Ops& ops = decoder_.ops();
  reserved_ = 0;
  ASSIGN_OR_RETURN(keys_, ops.Allocate(candidates * decoder_.kv_cols() * sizeof(float)));
  for (Buffer* b : {&new_score_, &ffn_score_, &rows_}) {
    ASSIGN_OR_RETURN(*b, ops.Allocate(candidates * sizeof(float)));
  }
  reserved_ = candidates;
  return absl::OkStatus();
}

absl::StatusOr<SkipState> SkippingLayers::Begin(SkipPolicy policy, SkipPlan plan) const {
  Ops& ops = decoder_.ops();
  const int64_t tokens = plan.prompt_tokens;
  int64_t most = 0, most_keys = 0;
  for (size_t l = plan.trunk_layers; l < plan.layers.size(); ++l) {
    const LayerPlan& layer = plan.layers[l];
    most = std::max(most, layer.active);
    if (layer.probes) most_keys = std::max(most_keys, layer.active);
  }
  SkipState s;
  ASSIGN_OR_RETURN(s.hidden, ops.Allocate(tokens * decoder_.config().width * sizeof(float)));
  ASSIGN_OR_RETURN(s.candidates, CandidateSet::Create(tokens, ops));
  ASSIGN_OR_RETURN(s.active_memory, ops.Allocate(most * sizeof(int32_t)));
  ASSIGN_OR_RETURN(s.keys, ops.Allocate(most_keys * decoder_.kv_cols() * sizeof(float)));
  if (policy.ffn_score != FfnScore::kAttention) {
    ASSIGN_OR_RETURN(s.fed_memory, ops.Allocate(most * sizeof(int32_t)));
  }
  s.policy = std::move(policy);
  s.plan = std::move(plan);
  return s;
}

absl::Status SkippingLayers::Run(int32_t layer, int64_t row_begin, int64_t row_end,
                                 SkipState& state, IndexView blocks, const KvPool& pool,
                                 LayerRows* rows) {
  const LayerPlan& plan = state.plan.layers[layer];
  const int64_t half = plan.active;
  const TensorView x(state.hidden.f32(), state.plan.prompt_tokens, decoder_.config().width);
  RETURN_IF_ERROR(Reserve(state.candidates.positions().size));

  if (row_begin == 0) ChooseActive(layer, state, x);
  if (row_begin < half) {
    Attend(layer, state, x, row_begin, std::min(row_end, half), blocks, pool);
  }
  if (row_end <= half) return absl::OkStatus();
  if (row_begin <= half) ChooseFed(layer, state, x);
  Feed(layer, state, x, std::max(row_begin, half) - half, row_end - half);
  if (row_end < 2 * half) return absl::OkStatus();
  if (rows) *rows = {ToHost(state.active, decoder_.ops()), ToHost(state.fed, decoder_.ops())};
  if (plan.keep < plan.candidates) {
    state.candidates.Cut(plan.keep, state.policy, rows_.i32(), decoder_.ops());
  }
  return absl::OkStatus();
}

// A layer that only probes goes the same way as one that skips, so that its keys are not projected
// twice.
void SkippingLayers::ChooseActive(int32_t layer, SkipState& state, TensorView x) {
  const LayerPlan& plan = state.plan.layers[layer];
  const IndexView candidates = state.candidates.positions();
  state.active = candidates;
  if (plan.probes) Probe(layer, state, x, candidates);
  if (!plan.skips() && !plan.probes) return;
  state.active = Select(state.candidates.scores(), state, plan.active, state.active_memory.i32());
  if (!plan.probes) return;
  const int64_t cols = decoder_.kv_cols();
  decoder_.ops().GatherRows(TensorView(keys_.f32(), candidates.size, cols),
                            IndexView{rows_.i32(), plan.active},
                            TensorView(state.keys.f32(), plan.active, cols));
}

void SkippingLayers::ChooseFed(int32_t layer, SkipState& state, TensorView x) {
  const LayerPlan& plan = state.plan.layers[layer];
  state.fed = state.active;
  if (!plan.skips() || state.policy.ffn_score == FfnScore::kAttention) return;
  ffn_probe_->Score(layer, x, state.candidates.positions(), state.policy.ffn_score,
                    state.candidates.scores(), ffn_score_.f32());
  state.fed = Select(ffn_score_.f32(), state, plan.active, state.fed_memory.i32());
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
IndexView SkippingLayers::Select(const float* scores, const SkipState& state, int64_t count,
                                 int32_t* positions) {
  Ops& ops = decoder_.ops();
  const IndexView candidates = state.candidates.positions();
  ops.SelectTop(scores, candidates.size, count, state.policy.sink, LastOf(state.policy, count),
                rows_.i32());
  ops.GatherIndex(candidates, IndexView{rows_.i32(), count}, positions);
  return {positions, count};
}

// Attention among the active tokens only, whose K and V alone enter the cache (instant KV
// compression).
void SkippingLayers::Attend(int32_t layer, SkipState& state, TensorView x, int64_t begin,
                            int64_t end, IndexView blocks, const KvPool& pool) {
  const int64_t cols = decoder_.kv_cols();
  for (int64_t rows = 0; begin < end; begin += rows) {
    rows = std::min(decoder_.max_rows(), end - begin);
    const IndexView piece = state.active.Slice(begin, rows);
    const KvSegment segment{0, rows, begin + rows, blocks};
    const AttentionBatch batch{piece, {&segment, 1}, &pool};
    const TensorView keys(state.keys.f32() + begin * cols, rows, cols);
    decoder_.Attend(layer, x, piece, batch, state.plan.layers[layer].probes ? &keys : nullptr);
  }
}

void SkippingLayers::Feed(int32_t layer, const SkipState& state, TensorView x, int64_t begin,
                          int64_t end) {
  for (; begin < end; begin += decoder_.max_rows()) {
    decoder_.FeedForward(layer, x,
                         state.fed.Slice(begin, std::min(decoder_.max_rows(), end - begin)));
  }
}

}  // namespace skipserve
