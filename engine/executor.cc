#include "engine/executor.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"

namespace skipserve {

absl::Status Executor::Stage::Send(Ops& ops) {
  const size_t bytes = host_.size() * sizeof(int32_t);
  if (device_.bytes() < bytes) {
    ASSIGN_OR_RETURN(device_, ops.Allocate(bytes * 2));
  }
  ops.Upload(host_.data(), device_.data(), bytes);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Executor>> Executor::Create(Decoder& decoder,
                                                           const std::vector<LayerProxy>& proxies,
                                                           Options options) {
  auto executor = std::unique_ptr<Executor>(new Executor(decoder, std::move(options)));
  const Options& o = executor->options_;
  Ops& ops = decoder.ops();
  ASSIGN_OR_RETURN(executor->kv_memory_, ops.Allocate(o.kv_blocks * o.kv_layout.block_bytes()));
  executor->pool_ = {executor->kv_memory_.data(), o.kv_layout};
  ASSIGN_OR_RETURN(executor->x_,
                   ops.Allocate(decoder.max_rows() * decoder.config().width * sizeof(float)));
  const int64_t logits = int64_t{o.max_sequences} * decoder.config().vocab_size;
  ASSIGN_OR_RETURN(executor->logits_, ops.Allocate(logits * sizeof(float)));
  executor->host_logits_.resize(logits);
  ASSIGN_OR_RETURN(executor->skipping_, SkippingLayers::Create(decoder, proxies));
  return executor;
}

absl::Status Executor::Begin(SequenceId id, NewSequence sequence) {
  Ops& ops = decoder_.ops();
  const Scheduler::Cached& cached = sequence.cached;
  Sequence s;
  s.prompt.assign(sequence.prompt.begin(), sequence.prompt.end());
  s.record_rows = sequence.record_rows;
  s.prefix_only = sequence.prefix_only;
  if (s.record_rows) {
    s.rows.resize(sequence.plan.layers.size());
    std::vector<int32_t> positions(cached.tokens);
    std::iota(positions.begin(), positions.end(), 0);
    for (int32_t layer = 0; layer < sequence.plan.trunk_layers; ++layer) {
      s.rows[layer] = {positions, positions};
    }
  }
  if (sequence.plan.dense()) {
    const int64_t rows = std::min(decoder_.max_rows(), sequence.plan.prompt_tokens);
    ASSIGN_OR_RETURN(s.chunk, ops.Allocate(rows * decoder_.config().width * sizeof(float)));
    s.skip.plan = std::move(sequence.plan);
  } else {
    ASSIGN_OR_RETURN(s.skip,
                     skipping_->Begin(std::move(sequence.policy), std::move(sequence.plan)));
    stage_.Clear();
    const int64_t blocks_at = stage_.Add(cached.states);
    RETURN_IF_ERROR(stage_.Send(ops));
    ops.StatesRead(stage_.View(blocks_at, static_cast<int64_t>(cached.states.size())),
                   options_.state_dtype, pool_,
                   TensorView(s.skip.hidden.f32(), cached.tokens, decoder_.config().width));
  }
  sequences_.emplace(id, std::move(s));
  return absl::OkStatus();
}

void Executor::SetNextToken(SequenceId id, int32_t token) { sequences_.at(id).next_token = token; }

void Executor::Forget(SequenceId id) { sequences_.erase(id); }

absl::StatusOr<std::vector<SequenceLogits>> Executor::Run(const StepPlan& plan,
                                                          const TablesById& tables) {
  logit_ids_.clear();
  if (!plan.decodes.empty()) RETURN_IF_ERROR(Decode(plan.decodes, tables));
  for (const TrunkItem& item : plan.trunks) RETURN_IF_ERROR(Trunk(item, tables.at(item.id)));
  for (const SkipItem& item : plan.skips) RETURN_IF_ERROR(Skip(item, tables.at(item.id)));

  const int64_t vocab = decoder_.config().vocab_size;
  decoder_.ops().Download(logits_.data(), host_logits_.data(),
                          logit_ids_.size() * vocab * sizeof(float));
  std::vector<SequenceLogits> result;
  for (size_t i = 0; i < logit_ids_.size(); ++i) {
    result.push_back({logit_ids_[i], absl::MakeConstSpan(host_logits_).subspan(i * vocab, vocab)});
  }
  return result;
}

// One token of every sequence, all in one batch.
absl::Status Executor::Decode(const std::vector<DecodeItem>& items, const TablesById& tables) {
  const int64_t n = static_cast<int64_t>(items.size());
  const int32_t layers = decoder_.config().layers;
  std::vector<int32_t> ids, positions;
  std::vector<Sequence*> sequences;
  for (const DecodeItem& item : items) {
    Sequence& s = sequences_.at(item.id);
    sequences.push_back(&s);
    ids.push_back(s.next_token);
    positions.push_back(static_cast<int32_t>(s.skip.plan.prompt_tokens + s.decoded));
  }
  stage_.Clear();
  const int64_t ids_at = stage_.Add(ids), positions_at = stage_.Add(positions);
  std::vector<int64_t> blocks_at;  // [layer][sequence]
  for (int32_t layer = 0; layer < layers; ++layer) {
    for (const DecodeItem& item : items)
      blocks_at.push_back(stage_.Add(tables.at(item.id)[layer].blocks));
  }
  RETURN_IF_ERROR(stage_.Send(decoder_.ops()));

  const TensorView x(x_.f32(), n, decoder_.config().width);
  decoder_.Embed(stage_.View(ids_at, n), x);
  std::vector<KvSegment> segments(n);
  for (int32_t layer = 0; layer < layers; ++layer) {
    for (int64_t i = 0; i < n; ++i) {
      const int64_t kv_len =
          sequences[i]->skip.plan.layers[layer].active + sequences[i]->decoded + 1;
      const int64_t blocks = static_cast<int64_t>(tables.at(items[i].id)[layer].blocks.size());
      segments[i] = {i, 1, kv_len, stage_.View(blocks_at[layer * n + i], blocks)};
    }
    decoder_.Layer(layer, x, {stage_.View(positions_at, n), segments, &pool_, Phase::kDecode});
  }
  std::vector<SequenceId> with_logits;
  for (const DecodeItem& item : items) with_logits.push_back(item.id);
  EmitLogits(with_logits, x, {});
  for (Sequence* s : sequences) ++s->decoded;
  return absl::OkStatus();
}

// Some tokens of one prompt through some of the layers before the skipping ones.
absl::Status Executor::Trunk(const TrunkItem& item, const std::vector<BlockTable>& tables) {
  Sequence& s = sequences_.at(item.id);
  const SkipPlan& plan = s.skip.plan;
  const absl::Time begin = options_.now();
  const int64_t n = item.token_end - item.token_begin;
  std::vector<int32_t> positions(n);
  std::iota(positions.begin(), positions.end(), static_cast<int32_t>(item.token_begin));
  Ops& ops = decoder_.ops();
  stage_.Clear();
  const int64_t ids_at = stage_.Add(absl::MakeConstSpan(s.prompt).subspan(item.token_begin, n));
  const int64_t positions_at = stage_.Add(positions);
  std::vector<int64_t> blocks_at;
  for (int32_t layer = item.layer_begin; layer < item.layer_end; ++layer)
    blocks_at.push_back(stage_.Add(tables[layer].blocks));
  const int64_t last_at = stage_.Add(std::vector<int32_t>{static_cast<int32_t>(n - 1)});
  RETURN_IF_ERROR(stage_.Send(ops));

  const int64_t width = decoder_.config().width;
  const TensorView x(plan.dense() ? s.chunk.f32() : s.skip.hidden.f32() + item.token_begin * width,
                     n, width);
  if (item.layer_begin == 0) decoder_.Embed(stage_.View(ids_at, n), x);
  for (int32_t layer = item.layer_begin; layer < item.layer_end; ++layer) {
    const KvSegment segment{0, n, item.token_end,
                            stage_.View(blocks_at[layer - item.layer_begin],
                                        static_cast<int64_t>(tables[layer].blocks.size()))};
    decoder_.Layer(layer, x, {stage_.View(positions_at, n), {&segment, 1}, &pool_});
    if (!s.record_rows) continue;
    for (std::vector<int32_t>* rows : {&s.rows[layer].attention, &s.rows[layer].ffn}) {
      rows->insert(rows->end(), positions.begin(), positions.end());
    }
  }
  if (item.layer_end == plan.trunk_layers && !plan.dense()) {
    ops.RoundRows(x, options_.state_dtype);
    RETURN_IF_ERROR(KeepStates(item, s.skip));
  }
  if (item.layer_end == decoder_.config().layers && item.token_end == plan.prompt_tokens &&
      !s.prefix_only) {
    EmitLogits({&item.id, 1}, x, stage_.View(last_at, 1));
  }
  s.times.trunk += options_.now() - begin;
  return absl::OkStatus();
}

// Hidden states of the blocks that the chunk has completed, for whoever has the same prompt.
absl::Status Executor::KeepStates(const TrunkItem& item, const SkipState& skip) {
  if (item.states.empty()) return absl::OkStatus();
  Ops& ops = decoder_.ops();
  const int64_t width = decoder_.config().width, block_tokens = options_.kv_layout.block_tokens;
  const int64_t tokens = static_cast<int64_t>(item.states.size()) /
                         StateBlocks(options_.kv_layout, width, options_.state_dtype) *
                         block_tokens;
  stage_.Clear();
  const int64_t blocks_at = stage_.Add(item.states);
  RETURN_IF_ERROR(stage_.Send(ops));
  float* const first = skip.hidden.f32() + item.first_state_block * block_tokens * width;
  ops.StatesWrite(TensorView(first, tokens, width),
                  stage_.View(blocks_at, static_cast<int64_t>(item.states.size())),
                  options_.state_dtype, pool_);
  return absl::OkStatus();
}

// A prompt's candidates through a slice of the skipping layers.
absl::Status Executor::Skip(const SkipItem& item, const std::vector<BlockTable>& tables) {
  Sequence& s = sequences_.at(item.id);
  const absl::Time begin = options_.now();
  for (SkipPoint at = item.begin; at != item.end;) {
    const int32_t layer = at.layer;
    const bool whole = layer < item.end.layer;
    const int64_t end = whole ? 2 * s.skip.plan.layers[layer].active : item.end.row;
    stage_.Clear();
    const int64_t blocks_at = stage_.Add(tables[layer].blocks);
    RETURN_IF_ERROR(stage_.Send(decoder_.ops()));
    const IndexView blocks =
        stage_.View(blocks_at, static_cast<int64_t>(tables[layer].blocks.size()));
    RETURN_IF_ERROR(skipping_->Run(layer, at.row, end, s.skip, blocks, pool_,
                                   s.record_rows ? &s.rows[layer] : nullptr));
    at = whole ? SkipPoint{layer + 1, 0} : item.end;
  }
  if (item.end.layer == decoder_.config().layers) {
    const int64_t last = s.skip.plan.prompt_tokens - 1, width = decoder_.config().width;
    EmitLogits({&item.id, 1}, TensorView(s.skip.hidden.f32() + last * width, 1, width), {});
    SkipPlan plan = std::move(s.skip.plan);
    s.skip = SkipState();
    s.skip.plan = std::move(plan);
  }
  s.times.skipping += options_.now() - begin;
  return absl::OkStatus();
}

void Executor::EmitLogits(absl::Span<const SequenceId> ids, TensorView x, IndexView rows) {
  const int64_t vocab = decoder_.config().vocab_size;
  const int64_t begin = static_cast<int64_t>(logit_ids_.size());
  decoder_.Logits(
      x, rows, TensorView(logits_.f32() + begin * vocab, static_cast<int64_t>(ids.size()), vocab));
  logit_ids_.insert(logit_ids_.end(), ids.begin(), ids.end());
}

}  // namespace skipserve
