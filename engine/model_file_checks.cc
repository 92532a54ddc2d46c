#include "engine/model_file_checks.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

absl::Status CheckShape(const ModelFile& file, const std::string& name, int64_t rows,
                        int64_t cols) {
  const auto source = file.Tensor(name);
  if (!source.ok()) return absl::InvalidArgumentError(source.status().message());
  if (source->out_features == rows && source->in_features == cols) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("tensor ", name, " is [", source->out_features, ", ", source->in_features,
                   "], but the model's shape needs [", rows, ", ", cols, "]"));
}

absl::Status CheckRopeDivisors(const ModelFile& file) {
  const auto source = file.Tensor("rope_freqs.weight");
  if (absl::IsNotFound(source.status())) return absl::OkStatus();  // most models have none
  const int64_t half = file.config().head_dim / 2;
  RETURN_IF_ERROR(CheckShape(file, "rope_freqs.weight", 1, half));
  std::vector<float> divisors(half);
  source->read(0, 1, divisors.data());
  for (const float d : divisors) {
    if (!std::isfinite(d) || d <= 0) {
      return absl::InvalidArgumentError(absl::StrCat("tensor rope_freqs.weight holds ", d,
                                                     ", but divisors must be finite and positive"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckId(absl::string_view what, int32_t id, size_t tokens) {
  if (id >= 0 && static_cast<size_t>(id) < tokens) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("the ", what, " token's id is ", id,
                                                 ", but the vocabulary has ", tokens, " tokens"));
}

}  // namespace

absl::Status CheckWeights(const ModelFile& file) {
  const ModelConfig& c = file.config();
  const int64_t q_rows = int64_t{c.heads} * c.head_dim, kv_rows = int64_t{c.kv_heads} * c.head_dim;
  RETURN_IF_ERROR(CheckShape(file, "model.embed_tokens.weight", c.vocab_size, c.width));
  RETURN_IF_ERROR(CheckShape(file, "model.norm.weight", 1, c.width));
  if (!c.tied_embeddings) {
    RETURN_IF_ERROR(CheckShape(file, "lm_head.weight", c.vocab_size, c.width));
  }
  for (int32_t i = 0; i < c.layers; ++i) {
    const std::string layer = absl::StrCat("model.layers.", i, ".");
    const std::string attn = layer + "self_attn.", mlp = layer + "mlp.";
    RETURN_IF_ERROR(CheckShape(file, layer + "input_layernorm.weight", 1, c.width));
    RETURN_IF_ERROR(CheckShape(file, layer + "post_attention_layernorm.weight", 1, c.width));
    RETURN_IF_ERROR(CheckShape(file, attn + "q_proj.weight", q_rows, c.width));
    RETURN_IF_ERROR(CheckShape(file, attn + "k_proj.weight", kv_rows, c.width));
    RETURN_IF_ERROR(CheckShape(file, attn + "v_proj.weight", kv_rows, c.width));
    RETURN_IF_ERROR(CheckShape(file, attn + "o_proj.weight", c.width, q_rows));
    RETURN_IF_ERROR(CheckShape(file, mlp + "gate_proj.weight", c.ffn_width, c.width));
    RETURN_IF_ERROR(CheckShape(file, mlp + "up_proj.weight", c.ffn_width, c.width));
    RETURN_IF_ERROR(CheckShape(file, mlp + "down_proj.weight", c.width, c.ffn_width));
    if (c.qkv_bias) {
      RETURN_IF_ERROR(CheckShape(file, attn + "q_proj.bias", 1, q_rows));
      RETURN_IF_ERROR(CheckShape(file, attn + "k_proj.bias", 1, kv_rows));
      RETURN_IF_ERROR(CheckShape(file, attn + "v_proj.bias", 1, kv_rows));
    }
  }
  return CheckRopeDivisors(file);
}

absl::Status CheckBiases(const StoredTensors& tensors,
                         absl::Span<const absl::string_view> used_suffixes) {
  for (const auto& named : tensors) {
    const std::string& name = named.first;
    if (!absl::EndsWith(name, ".bias")) continue;
    const bool used = std::any_of(used_suffixes.begin(), used_suffixes.end(),
                                  [&](absl::string_view s) { return absl::EndsWith(name, s); });
    if (!used) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", name, ": this architecture is not supported with a bias there"));
    }
  }
  return absl::OkStatus();
}

absl::Status FinishTokenizer(int32_t vocab_size, TokenizerSpec* spec) {
  static constexpr absl::string_view kEndsTurn[] = {
      "<|im_end|>",      "<|eot_id|>", "<|eom_id|>",    "<|endoftext|>", "<|end_of_text|>",
      "<|end_of_turn|>", "<|end|>",    "<end_of_turn>", "<|eot|>",       "</s>",
  };
  const size_t declared = spec->tokens.size();
  if (declared > static_cast<size_t>(vocab_size)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the tokenizer has ", declared, " tokens, but the model's vocabulary has ", vocab_size));
  }
  for (int64_t id = static_cast<int64_t>(declared); id < vocab_size; ++id) {
    spec->tokens.push_back(absl::StrCat("[PAD", id, "]"));
    spec->kinds.push_back(TokenizerSpec::TokenKind::kUnused);
  }
  if (spec->eos_id == -1 && !spec->eos_ids.empty()) spec->eos_id = spec->eos_ids[0];
  if (spec->eos_id != -1) spec->eos_ids.push_back(spec->eos_id);
  for (size_t id = 0; id < declared; ++id) {
    if (spec->kinds[id] == TokenizerSpec::TokenKind::kSpecial &&
        std::find(std::begin(kEndsTurn), std::end(kEndsTurn), spec->tokens[id]) !=
            std::end(kEndsTurn)) {
      spec->eos_ids.push_back(static_cast<int32_t>(id));
    }
  }
  std::sort(spec->eos_ids.begin(), spec->eos_ids.end());
  spec->eos_ids.erase(std::unique(spec->eos_ids.begin(), spec->eos_ids.end()), spec->eos_ids.end());
  for (const int32_t id : spec->eos_ids) RETURN_IF_ERROR(CheckId("end", id, declared));
  if (spec->bos_id != -1) RETURN_IF_ERROR(CheckId("beginning", spec->bos_id, declared));
  if (spec->add_bos && spec->bos_id == -1) {
    return absl::InvalidArgumentError(
        "the tokenizer is to begin every prompt with the beginning token, but names none");
  }
  return absl::OkStatus();
}

}  // namespace skipserve
