#include "engine/gguf_model.h"

#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "engine/model_file_checks.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

class GgufModel : public ModelFile {
 public:
  GgufModel(GgufFile file, std::shared_ptr<const void> owner)
      : file_(std::move(file)), owner_(std::move(owner)) {}

  absl::Status Init() {
    ASSIGN_OR_RETURN(config_, GgufConfig(file_));
    RETURN_IF_ERROR(ValidateConfig(config_));
    static constexpr absl::string_view kQkvBias[] = {"attn_q.bias", "attn_k.bias", "attn_v.bias"};
    RETURN_IF_ERROR(CheckBiases(file_.tensors, config_.qkv_bias
                                                   ? absl::Span<const absl::string_view>(kQkvBias)
                                                   : absl::Span<const absl::string_view>()));
    RETURN_IF_ERROR(CheckWeights(*this));
    ASSIGN_OR_RETURN(tokenizer_, GgufTokenizer(file_.metadata, config_.vocab_size));
    ASSIGN_OR_RETURN(fingerprint_, Fingerprint(config_, file_.tensors));
    return absl::OkStatus();
  }

  const ModelConfig& config() const override { return config_; }
  const TokenizerSpec& tokenizer() const override { return tokenizer_; }
  const std::string& fingerprint() const override { return fingerprint_; }

  absl::StatusOr<WeightSource> Tensor(absl::string_view name) const override {
    const auto it = file_.tensors.find(GgufTensorName(name));
    if (it == file_.tensors.end()) {
      return absl::NotFoundError(absl::StrCat("tensor ", name, " is not in the model file"));
    }
    const bool permuted =
        config_.architecture == "llama" &&
        (absl::EndsWith(name, "q_proj.weight") || absl::EndsWith(name, "k_proj.weight"));
    return MakeWeightSource(name, it->second, permuted ? config_.head_dim : 0);
  }

 private:
  GgufFile file_;
  std::shared_ptr<const void> owner_;
  ModelConfig config_;
  TokenizerSpec tokenizer_;
  std::string fingerprint_;
};

}  // namespace

std::string GgufTensorName(absl::string_view name) {
  static constexpr std::pair<absl::string_view, absl::string_view> kWhole[] = {
      {"model.embed_tokens.weight", "token_embd.weight"},
      {"model.norm.weight", "output_norm.weight"},
      {"lm_head.weight", "output.weight"},
      {"rope_freqs.weight", "rope_freqs.weight"},
  };
  static constexpr std::pair<absl::string_view, absl::string_view> kOfLayer[] = {
      {"input_layernorm.", "attn_norm."}, {"post_attention_layernorm.", "ffn_norm."},
      {"self_attn.q_proj.", "attn_q."},   {"self_attn.k_proj.", "attn_k."},
      {"self_attn.v_proj.", "attn_v."},   {"self_attn.o_proj.", "attn_output."},
      {"mlp.gate_proj.", "ffn_gate."},    {"mlp.up_proj.", "ffn_up."},
      {"mlp.down_proj.", "ffn_down."},
  };
  for (const auto& [from, to] : kWhole) {
    if (name == from) return std::string(to);
  }
  if (!absl::ConsumePrefix(&name, "model.layers.")) return "";
  const size_t dot = name.find('.');
  if (dot == absl::string_view::npos) return "";
  const absl::string_view layer = name.substr(0, dot);
  name.remove_prefix(dot + 1);
  for (const auto& [from, to] : kOfLayer) {
    if (absl::ConsumePrefix(&name, from)) return absl::StrCat("blk.", layer, ".", to, name);
  }
  return "";
}

absl::StatusOr<std::unique_ptr<ModelFile>> OpenGguf(const std::string& path,
                                                    absl::string_view bytes,
                                                    std::shared_ptr<const void> owner) {
  const auto open = [&]() -> absl::StatusOr<std::unique_ptr<ModelFile>> {
    ASSIGN_OR_RETURN(GgufFile file, ParseGguf(bytes));
    auto model = std::make_unique<GgufModel>(std::move(file), std::move(owner));
    RETURN_IF_ERROR(model->Init());
    return model;
  };
  auto model = open();
  if (model.ok()) return model;
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", model.status().message()));
}

}  // namespace skipserve
