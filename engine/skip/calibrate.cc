#include "engine/skip/calibrate.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/decoder.h"
#include "engine/machine.h"
#include "engine/skip/ready_settings.h"
#include "engine/status_macros.h"
#include "engine/tokenizer.h"

namespace skipserve {
namespace {

// Pieces of `size` tokens, taken in turn from every text so that a long one does not crowd out the
// others.
absl::StatusOr<std::vector<std::vector<int32_t>>> CutPieces(const std::vector<std::string>& texts,
                                                            const Tokenizer& tokenizer,
                                                            int64_t size, int64_t most) {
  std::vector<std::vector<int32_t>> ids;
  int64_t tokens = 0;
  for (const std::string& text : texts) {
    ids.push_back(tokenizer.Encode(text, /*allow_special=*/false));
    tokens += static_cast<int64_t>(ids.back().size());
  }
  if (tokens < 2 * size) {
    return absl::InvalidArgumentError(absl::StrCat("the calibration texts have ", tokens,
                                                   " tokens in all; at least ", 2 * size,
                                                   " are needed: give more or longer texts"));
  }
  std::vector<std::vector<int32_t>> pieces;
  for (int64_t begin = 0; static_cast<int64_t>(pieces.size()) < most; begin += size) {
    bool any = false;
    for (const auto& text : ids) {
      const int64_t length = static_cast<int64_t>(text.size());
      if (begin >= length || static_cast<int64_t>(pieces.size()) == most) continue;
      pieces.emplace_back(text.begin() + begin, text.begin() + std::min(length, begin + size));
      any = true;
    }
    if (!any) break;
  }
  return pieces;
}

// Runs dense prefills of one piece at a time and feeds every layer's FFN activations to its
// ChannelImportance.
class Collector {
 public:
  static absl::StatusOr<std::unique_ptr<Collector>> Create(const ModelFile& model, int64_t pieces,
                                                           int64_t tokens, int64_t rows_per_piece,
                                                           Ops& ops) {
    const ModelConfig& c = model.config();
    auto collector = std::unique_ptr<Collector>(new Collector(ops, rows_per_piece));
    ASSIGN_OR_RETURN(DecoderWeights weights, LoadDecoderWeights(model, WeightType::kF32, tokens, ops));
    ASSIGN_OR_RETURN(collector->decoder_, Decoder::Create(c, std::move(weights), tokens, ops));
    collector->layout_ = {DType::kF32, static_cast<int32_t>(tokens), c.kv_heads, c.head_dim};
    ASSIGN_OR_RETURN(collector->kv_, ops.Allocate(collector->layout_.block_bytes()));
    ASSIGN_OR_RETURN(collector->x_, ops.Allocate(tokens * c.width * sizeof(float)));
    ASSIGN_OR_RETURN(collector->h_, ops.Allocate(rows_per_piece * c.width * sizeof(float)));
    ASSIGN_OR_RETURN(collector->hidden_,
                     ops.Allocate(rows_per_piece * c.ffn_width * sizeof(float)));
    ASSIGN_OR_RETURN(collector->index_,
                     ops.Allocate((2 * tokens + rows_per_piece + 1) * sizeof(int32_t)));
    for (int32_t i = 0; i < c.layers; ++i) {
      collector->importance_.emplace_back(c.ffn_width, pieces * rows_per_piece);
    }
    return collector;
  }

  void Add(const std::vector<int32_t>& ids) {
    const int64_t n = static_cast<int64_t>(ids.size()), sampled = std::min(rows_per_piece_, n);
    std::vector<int32_t> index = ids;  // token ids, positions, sampled rows, the one KV block
    for (int64_t i = 0; i < n; ++i) index.push_back(static_cast<int32_t>(i));
    for (int64_t i = 0; i < sampled; ++i) index.push_back(static_cast<int32_t>(i * n / sampled));
    index.push_back(0);
    ops_.Upload(index.data(), index_.data(), index.size() * sizeof(int32_t));
    const IndexView all{index_.i32(), static_cast<int64_t>(index.size())};
    const IndexView positions = all.Slice(n, n), rows = all.Slice(2 * n, sampled);

    const ModelConfig& c = decoder_->config();
    const TensorView x(x_.f32(), n, c.width), h(h_.f32(), sampled, c.width),
        hidden(hidden_.f32(), sampled, c.ffn_width);
    const KvPool pool{kv_.data(), layout_};
    const KvSegment segment{0, n, n, all.Slice(2 * n + sampled, 1)};
    std::vector<float> host(sampled * c.ffn_width);
    decoder_->Embed(all.Slice(0, n), x);
    for (int32_t layer = 0; layer < c.layers; ++layer) {
      decoder_->Attend(layer, x, {}, {positions, {&segment, 1}, &pool}, nullptr);
      decoder_->FeedForwardInput(layer, x, rows, h);
      decoder_->FeedForwardHidden(layer, h, hidden);
      ops_.Download(hidden.data, host.data(), host.size() * sizeof(float));
      importance_[layer].Add(host);
      decoder_->FeedForward(layer, x, {});
    }
  }

  std::vector<float> Importance(int32_t layer) const { return importance_[layer].Importance(); }

 private:
  Collector(Ops& ops, int64_t rows_per_piece) : ops_(ops), rows_per_piece_(rows_per_piece) {}
  Ops& ops_;
  const int64_t rows_per_piece_;
  std::unique_ptr<Decoder> decoder_;
  KvLayout layout_;
  Buffer kv_, x_, h_, hidden_, index_;
  std::vector<ChannelImportance> importance_;
};

absl::StatusOr<FfnWeights> OpenFfn(const ModelFile& model, int32_t layer) {
  const std::string mlp = absl::StrCat("model.layers.", layer, ".mlp.");
  FfnWeights ffn;
  ASSIGN_OR_RETURN(ffn.gate, model.Tensor(mlp + "gate_proj.weight"));
  ASSIGN_OR_RETURN(ffn.up, model.Tensor(mlp + "up_proj.weight"));
  ASSIGN_OR_RETURN(ffn.down, model.Tensor(mlp + "down_proj.weight"));
  return ffn;
}

}  // namespace

absl::StatusOr<std::vector<LayerProxy>> BuildProxies(
    const ModelFile& model, const std::vector<std::vector<int32_t>>& pieces, ProxyShape shape,
    int64_t rows_per_piece, Ops& ops, const Progress& progress) {
  const int64_t total = static_cast<int64_t>(pieces.size());
  int64_t longest = 1;
  for (const auto& piece : pieces) longest = std::max(longest, static_cast<int64_t>(piece.size()));
  ASSIGN_OR_RETURN(const std::unique_ptr<Collector> collector,
                   Collector::Create(model, total, longest, rows_per_piece, ops));
  for (int64_t i = 0; i < total; ++i) {
    progress("reading calibration texts", i, total);
    collector->Add(pieces[i]);
  }
  std::vector<LayerProxy> proxies;
  const int32_t layers = model.config().layers;
  for (int32_t layer = 0; layer < layers; ++layer) {
    progress("building proxies", layer, layers);
    ASSIGN_OR_RETURN(const FfnWeights ffn, OpenFfn(model, layer));
    ASSIGN_OR_RETURN(LayerProxy proxy, BuildProxy(ffn, collector->Importance(layer), shape));
    proxies.push_back(std::move(proxy));
  }
  progress("building proxies", layers, layers);
  return proxies;
}

absl::StatusOr<SkipFile> Calibrate(const CalibrateOptions& options,
                                   const std::vector<std::string>& texts,
                                   const Progress& progress) {
  ASSIGN_OR_RETURN(std::unique_ptr<ModelFile> model, ModelFile::Open(options.model_path));
  ASSIGN_OR_RETURN(std::unique_ptr<Tokenizer> tokenizer, Tokenizer::Create(model->tokenizer()));
  const ModelConfig& config = model->config();
  ASSIGN_OR_RETURN(
      const auto pieces,
      CutPieces(texts, *tokenizer, std::min(options.tokens_per_text, config.max_positions),
                options.max_pieces));
  const std::unique_ptr<Ops> ops =
      MakeCpuOps(options.threads > 0 ? options.threads : AvailableCpus());
  RETURN_IF_ERROR(ops->CheckHeadDim(config.head_dim));
  SkipFile file;
  file.fingerprint = model->fingerprint();
  file.layers = config.layers;
  file.width = config.width;
  file.ffn_width = config.ffn_width;
  file.settings = ReadySettings(config);
  const ProxyShape shape = options.proxy.rank > 0 ? options.proxy : ReadyProxyShape(config);
  ASSIGN_OR_RETURN(file.proxies,
                   BuildProxies(*model, pieces, shape, options.rows_per_piece, *ops, progress));
  return file;
}

}  // namespace skipserve
