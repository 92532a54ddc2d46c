#include "engine/quality/prompt_reader.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

constexpr int32_t kBlockTokens = 32;

}  // namespace

absl::StatusOr<std::unique_ptr<PromptReader>> PromptReader::Create(
    Decoder& decoder, const std::vector<LayerProxy>& proxies, DType dtype, int64_t max_tokens,
    std::function<absl::Time()> now) {
  auto reader =
      std::unique_ptr<PromptReader>(new PromptReader(decoder, max_tokens, std::move(now)));
  Ops& ops = decoder.ops();
  const ModelConfig& c = decoder.config();
  reader->blocks_per_layer_ = (max_tokens + kBlockTokens - 1) / kBlockTokens;
  const int64_t blocks = 2 * c.layers * reader->blocks_per_layer_;
  reader->pool_.layout = {dtype, kBlockTokens, c.kv_heads, c.head_dim};
  ASSIGN_OR_RETURN(reader->kv_, ops.Allocate(blocks * reader->pool_.layout.block_bytes()));
  reader->pool_.data = reader->kv_.data();
  std::vector<int32_t> index(std::max(blocks, max_tokens));
  std::iota(index.begin(), index.end(), 0);
  ASSIGN_OR_RETURN(reader->index_, ops.Allocate(index.size() * sizeof(int32_t)));
  ops.Upload(index.data(), reader->index_.data(), index.size() * sizeof(int32_t));
  ASSIGN_OR_RETURN(reader->ids_, ops.Allocate(decoder.max_rows() * sizeof(int32_t)));
  ASSIGN_OR_RETURN(reader->x_, ops.Allocate(decoder.max_rows() * c.width * sizeof(float)));
  ASSIGN_OR_RETURN(reader->logits_,
                   ops.Allocate(Ops::kMaxDecodeRows * int64_t{c.vocab_size} * sizeof(float)));
  ASSIGN_OR_RETURN(reader->skipping_, SkippingLayers::Create(decoder, proxies));
  return reader;
}

// A skipping layer's KV lies behind all dense layers', so that neither read spoils the other.
IndexView PromptReader::Blocks(int32_t layer, bool skipped) const {
  const int64_t area = layer + (skipped ? decoder_.config().layers : 0);
  return {index_.i32() + area * blocks_per_layer_, blocks_per_layer_};
}

// Rows of consecutive positions through all layers, behind what each layer has cached of the prompt
// and behind the `position - prompt_tokens_` tokens that followed it.
void PromptReader::Layers(absl::Span<const int32_t> ids, int64_t position, TensorView x,
                          Phase phase, const std::map<int32_t, Buffer>* keep) {
  Ops& ops = decoder_.ops();
  ops.Upload(ids.data(), ids_.data(), ids.size() * sizeof(int32_t));
  decoder_.Embed({ids_.i32(), x.rows}, x);
  const IndexView positions{index_.i32() + position, x.rows};
  for (int32_t layer = 0; layer < decoder_.config().layers; ++layer) {
    if (keep && keep->count(layer)) {
      const TensorView state(keep->at(layer).f32(), prompt_tokens_, x.cols);
      ops.GatherRows(x, {index_.i32(), x.rows}, state.Rows(position, x.rows));
    }
    const int64_t cached = kv_tokens_[layer] + position - prompt_tokens_;
    const KvSegment segment{0, x.rows, cached + x.rows, Blocks(layer, layer >= trunk_layers_)};
    const absl::Time begin = now_();
    decoder_.Layer(layer, x, {positions, {&segment, 1}, &pool_, phase});
    if (keep) dense_times_[layer] += now_() - begin;
  }
}

absl::Status PromptReader::ReadDense(absl::Span<const int32_t> prompt,
                                     absl::Span<const int32_t> starts) {
  const ModelConfig& c = decoder_.config();
  prompt_tokens_ = static_cast<int64_t>(prompt.size());
  if (prompt_tokens_ < 1 || prompt_tokens_ > max_tokens_) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a prompt of ", prompt_tokens_, " tokens; this reader holds 1 to ", max_tokens_));
  }
  states_.clear();
  for (const int32_t start : starts) {
    ASSIGN_OR_RETURN(states_[start],
                     decoder_.ops().Allocate(prompt_tokens_ * c.width * sizeof(float)));
  }
  trunk_layers_ = c.layers;
  kv_tokens_.assign(c.layers, prompt_tokens_);
  dense_times_.assign(c.layers, absl::ZeroDuration());
  int64_t rows = 0;
  for (int64_t begin = 0; begin < prompt_tokens_; begin += rows) {
    rows = std::min(decoder_.max_rows(), prompt_tokens_ - begin);
    Layers(prompt.subspan(begin, rows), begin, TensorView(x_.f32(), rows, c.width), Phase::kPrefill,
           &states_);
  }
  const TensorView last(x_.f32() + (rows - 1) * c.width, 1, c.width);
  decoder_.Logits(last, {}, TensorView(logits_.f32(), 1, c.vocab_size));
  dense_logits_.resize(c.vocab_size);
  decoder_.ops().Download(logits_.data(), dense_logits_.data(), c.vocab_size * sizeof(float));
  first_logits_ = dense_logits_;
  prefill_time_ = std::accumulate(dense_times_.begin(), dense_times_.end(), absl::ZeroDuration());
  return absl::OkStatus();
}

absl::Status PromptReader::Read(const SkipPolicy& policy, const SkipPlan& plan,
                                std::vector<LayerRows>* rows) {
  const ModelConfig& c = decoder_.config();
  trunk_layers_ = plan.trunk_layers;
  prefill_time_ = std::accumulate(dense_times_.begin(), dense_times_.begin() + trunk_layers_,
                                  absl::ZeroDuration());
  for (int32_t layer = 0; layer < c.layers; ++layer) kv_tokens_[layer] = plan.layers[layer].active;
  if (plan.dense()) {
    first_logits_ = dense_logits_;
    return absl::OkStatus();
  }
  const auto entering = states_.find(plan.trunk_layers);
  if (entering == states_.end() || plan.prompt_tokens != prompt_tokens_) {
    return absl::FailedPreconditionError(absl::StrCat("no dense read of ", plan.prompt_tokens,
                                                      " tokens kept the states of layer ",
                                                      plan.trunk_layers));
  }
  Ops& ops = decoder_.ops();
  ASSIGN_OR_RETURN(SkipState state, skipping_->Begin(policy, plan));
  const TensorView hidden(state.hidden.f32(), prompt_tokens_, c.width);
  ops.GatherRows(TensorView(entering->second.f32(), prompt_tokens_, c.width),
                 {index_.i32(), prompt_tokens_}, hidden);
  if (rows) rows->assign(c.layers, LayerRows());
  const absl::Time begin = now_();
  for (int32_t layer = plan.trunk_layers; layer < c.layers; ++layer) {
    RETURN_IF_ERROR(skipping_->Run(layer, 0, 2 * plan.layers[layer].active, state,
                                   Blocks(layer, true), pool_, rows ? &(*rows)[layer] : nullptr));
  }
  decoder_.Logits(hidden.Rows(prompt_tokens_ - 1, 1), {},
                  TensorView(logits_.f32(), 1, c.vocab_size));
  first_logits_.resize(c.vocab_size);
  ops.Download(logits_.data(), first_logits_.data(), c.vocab_size * sizeof(float));
  prefill_time_ += now_() - begin;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<float>> PromptReader::Force(absl::Span<const int32_t> answer) {
  const ModelConfig& c = decoder_.config();
  const int64_t count = static_cast<int64_t>(answer.size()), vocab = c.vocab_size;
  if (prompt_tokens_ + count > max_tokens_) {
    return absl::InvalidArgumentError(absl::StrCat("prompt and answer have ",
                                                   prompt_tokens_ + count,
                                                   " tokens; this reader holds ", max_tokens_));
  }
  std::vector<float> logits(count * vocab);
  if (count == 0) return logits;
  std::copy(first_logits_.begin(), first_logits_.end(), logits.begin());
  int64_t rows = 0;
  for (int64_t begin = 0; begin + 1 < count; begin += rows) {
    rows = std::min(Ops::kMaxDecodeRows, count - 1 - begin);
    const TensorView x(x_.f32(), rows, c.width);
    Layers(answer.subspan(begin, rows), prompt_tokens_ + begin, x, Phase::kPrefill, nullptr);
    decoder_.Logits(x, {}, TensorView(logits_.f32(), rows, vocab));
    decoder_.ops().Download(logits_.data(), logits.data() + (begin + 1) * vocab,
                            rows * vocab * sizeof(float));
  }
  return logits;
}

absl::StatusOr<std::vector<int32_t>> PromptReader::Answer(int64_t max_new_tokens,
                                                          absl::Span<const int32_t> stop_ids) {
  const ModelConfig& c = decoder_.config();
  if (prompt_tokens_ + max_new_tokens > max_tokens_) {
    return absl::InvalidArgumentError(absl::StrCat("prompt and answer have ",
                                                   prompt_tokens_ + max_new_tokens,
                                                   " tokens; this reader holds ", max_tokens_));
  }
  std::vector<int32_t> answer;
  std::vector<float> logits = first_logits_;
  const TensorView x(x_.f32(), 1, c.width);
  while (static_cast<int64_t>(answer.size()) < max_new_tokens) {
    const int32_t next =
        static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
    answer.push_back(next);
    if (std::find(stop_ids.begin(), stop_ids.end(), next) != stop_ids.end()) break;
    Layers({&next, 1}, prompt_tokens_ + static_cast<int64_t>(answer.size()) - 1, x, Phase::kDecode,
           nullptr);
    decoder_.Logits(x, {}, TensorView(logits_.f32(), 1, c.vocab_size));
    decoder_.ops().Download(logits_.data(), logits.data(), c.vocab_size * sizeof(float));
  }
  return answer;
}

}  // namespace skipserve
