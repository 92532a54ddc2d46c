#include "engine/decoder_weights.h"

#include <algorithm>
#include <initializer_list>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

// Two matrices over the same input as one, the second's rows below the first's.
WeightSource Stack(WeightSource top, WeightSource bottom) {
  WeightSource both;
  both.out_features = top.out_features + bottom.out_features;
  both.in_features = top.in_features;
  both.read = [top = std::move(top), bottom = std::move(bottom)](int64_t begin, int64_t count,
                                                                 float* out) {
    const int64_t from_top = std::clamp<int64_t>(top.out_features - begin, 0, count);
    if (from_top > 0) top.read(begin, from_top, out);
    if (from_top < count) {
      bottom.read(begin + from_top - top.out_features, count - from_top,
                  out + from_top * top.in_features);
    }
  };
  return both;
}

class Loader {
 public:
  Loader(const ModelFile& file, WeightType type, Ops& ops) : file_(file), type_(type), ops_(ops) {}

  absl::StatusOr<std::unique_ptr<Weight>> Matrix(const std::string& name,
                                                 WeightUse use = WeightUse::kAll) const {
    ASSIGN_OR_RETURN(const WeightSource source, file_.Tensor(name));
    return ops_.LoadWeight(source, type_, use);
  }

  absl::StatusOr<std::unique_ptr<Weight>> Stacked(const std::string& top, const std::string& bottom,
                                                  WeightUse use) const {
    ASSIGN_OR_RETURN(WeightSource a, file_.Tensor(top));
    ASSIGN_OR_RETURN(WeightSource b, file_.Tensor(bottom));
    return ops_.LoadWeight(Stack(std::move(a), std::move(b)), type_, use);
  }

  // Vectors laid end to end, always float32.
  absl::StatusOr<Buffer> Vector(std::initializer_list<std::string> names) const {
    std::vector<float> host;
    for (const std::string& name : names) {
      ASSIGN_OR_RETURN(const WeightSource source, file_.Tensor(name));
      host.resize(host.size() + source.in_features);
      source.read(0, 1, host.data() + host.size() - source.in_features);
    }
    ASSIGN_OR_RETURN(Buffer buffer, ops_.Allocate(host.size() * sizeof(float)));
    ops_.Upload(host.data(), buffer.data(), buffer.bytes());
    return buffer;
  }

  absl::StatusOr<LayerWeights> Layer(int32_t i) const {
    const std::string layer = absl::StrCat("model.layers.", i, ".");
    const std::string attn = layer + "self_attn.", mlp = layer + "mlp.";
    LayerWeights w;
    ASSIGN_OR_RETURN(w.attention_norm, Vector({layer + "input_layernorm.weight"}));
    ASSIGN_OR_RETURN(w.k, Matrix(attn + "k_proj.weight"));
    ASSIGN_OR_RETURN(w.qv,
                     Stacked(attn + "q_proj.weight", attn + "v_proj.weight", WeightUse::kAll));
    if (file_.config().qkv_bias) {
      ASSIGN_OR_RETURN(w.k_bias, Vector({attn + "k_proj.bias"}));
      ASSIGN_OR_RETURN(w.qv_bias, Vector({attn + "q_proj.bias", attn + "v_proj.bias"}));
    }
    ASSIGN_OR_RETURN(w.o, Matrix(attn + "o_proj.weight"));
    ASSIGN_OR_RETURN(w.ffn_norm, Vector({layer + "post_attention_layernorm.weight"}));
    ASSIGN_OR_RETURN(w.gate_up,
                     Stacked(mlp + "gate_proj.weight", mlp + "up_proj.weight", WeightUse::kGated));
    ASSIGN_OR_RETURN(w.down, Matrix(mlp + "down_proj.weight"));
    return w;
  }

  // The model file's own divisors of the rotary frequencies (GGUF of Llama 3.1), or nothing.
  absl::StatusOr<std::vector<float>> RopeDivisors() const {
    const absl::StatusOr<WeightSource> source = file_.Tensor("rope_freqs.weight");
    if (absl::IsNotFound(source.status())) return std::vector<float>();
    RETURN_IF_ERROR(source.status());
    std::vector<float> divisors(source->in_features);
    source->read(0, 1, divisors.data());
    return divisors;
  }

 private:
  const ModelFile& file_;
  WeightType type_;
  Ops& ops_;
};

}  // namespace

absl::StatusOr<DecoderWeights> LoadDecoderWeights(const ModelFile& file, WeightType type,
                                                  int64_t positions, Ops& ops) {
  const ModelConfig& c = file.config();
  const Loader load(file, type, ops);
  DecoderWeights w;
  ASSIGN_OR_RETURN(w.embedding, load.Matrix("model.embed_tokens.weight", WeightUse::kDecode));
  if (!c.tied_embeddings) {
    ASSIGN_OR_RETURN(w.head, load.Matrix("lm_head.weight", WeightUse::kDecode));
  }
  ASSIGN_OR_RETURN(w.final_norm, load.Vector({"model.norm.weight"}));
  for (int32_t i = 0; i < c.layers; ++i) {
    ASSIGN_OR_RETURN(LayerWeights layer, load.Layer(i));
    w.layers.push_back(std::move(layer));
  }
  ASSIGN_OR_RETURN(std::vector<float> divisors, load.RopeDivisors());
  ASSIGN_OR_RETURN(w.rope, MakeRopeTable(RopeFrequencies(c, divisors), positions, ops));
  return w;
}

}  // namespace skipserve
