// Checks and sums of a sequence's shape. Sums saturate: a number too large to add is a request
// too large to run, not an overflow.
#include "scheduler/shape.h"

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"

namespace skipserve {
namespace {

int64_t SaturatingAdd(int64_t a, int64_t b) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  return a > kMax - b ? kMax : a + b;
}

int64_t KvLimit(const SequenceShape& shape, int32_t layer, int64_t new_tokens) {
  const int64_t prompt = shape.kv_prompt_tokens[layer];
  return shape.prefix_only ? prompt : SaturatingAdd(prompt, new_tokens - 1);
}

bool IsWork(double flops) { return std::isfinite(flops) && flops >= 0; }

bool IsLayer(const SkipLayer& layer, int64_t rows) {
  return layer.rows == rows && IsWork(layer.key_flops) && IsWork(layer.probe_flops) &&
         IsWork(layer.ffn_probe_flops) && IsWork(layer.attention_flops_per_row) &&
         IsWork(layer.attention_flops_per_pair) && IsWork(layer.ffn_flops_per_row);
}

}  // namespace

absl::Status CheckShape(const SequenceShape& shape, int32_t layers) {
  if (shape.prompt_tokens < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("prompt_tokens is ", shape.prompt_tokens, ", must be at least 1"));
  }
  if (shape.max_new_tokens < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_new_tokens is ", shape.max_new_tokens, ", must be at least 1"));
  }
  if (shape.kv_prompt_tokens.size() != static_cast<size_t>(layers)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "kv_prompt_tokens has ", shape.kv_prompt_tokens.size(), " layers, the model has ", layers));
  }
  if (shape.trunk_layers < 0 || shape.trunk_layers > layers) {
    return absl::InvalidArgumentError(
        absl::StrCat("trunk_layers is ", shape.trunk_layers, ", the model has ", layers));
  }
  const int32_t skipping = shape.prefix_only ? 0 : layers - shape.trunk_layers;
  if (shape.skip_layers.size() != static_cast<size_t>(skipping)) {
    return absl::InvalidArgumentError(absl::StrCat("skip_layers has ", shape.skip_layers.size(),
                                                   " layers, ", skipping, " of the layers skip"));
  }
  for (int32_t l = 0; l < layers; ++l) {
    const int64_t kv = shape.kv_prompt_tokens[l];
    const bool trunk = l < shape.trunk_layers;
    if (kv < 0 || kv > shape.prompt_tokens || (trunk && kv != shape.prompt_tokens)) {
      return absl::InvalidArgumentError(
          absl::StrCat("kv_prompt_tokens of layer ", l, trunk ? " (trunk)" : " (skipping)", " is ",
                       kv, ", the prompt has ", shape.prompt_tokens, " tokens"));
    }
    if (trunk) continue;
    if (shape.prefix_only ? kv != 0 : !IsLayer(shape.skip_layers[l - shape.trunk_layers], kv)) {
      return absl::InvalidArgumentError(
          absl::StrCat("skip_layers says of layer ", l, " what is no work of ", kv, " rows"));
    }
  }
  if (!IsWork(shape.trunk_flops_per_token) || !IsWork(shape.trunk_flops_per_pair)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "trunk_flops_per_token is ", shape.trunk_flops_per_token, ", trunk_flops_per_pair is ",
        shape.trunk_flops_per_pair, ", both must be finite and not negative"));
  }
  return absl::OkStatus();
}

int64_t KvLimit(const SequenceShape& shape, int32_t layer) {
  return KvLimit(shape, layer, shape.max_new_tokens);
}

int64_t BlocksFor(const SequenceShape& shape, int64_t new_tokens, int32_t block_tokens) {
  int64_t blocks = 0;
  for (int32_t l = 0; l < shape.layers(); ++l) {
    blocks = SaturatingAdd(blocks, BlocksFor(KvLimit(shape, l, new_tokens), block_tokens));
  }
  return blocks;
}

}  // namespace skipserve
