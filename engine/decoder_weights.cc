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
WeightSource Stack(const WeightSource& top, const WeightSource& bottom) {
  WeightSource both;
  both.out_features = top.out_features + bottom.out_features;
  both.in_features = top.in_features;
  const auto of_top = [rows = top.out_features](int64_t begin, int64_t count) {
    return std::clamp<int64_t>(rows - begin, 0, count);
  };
  both.read = [=](int64_t begin, int64_t count, float* out) {
    const int64_t n = of_top(begin, count);
    if (n > 0) top.read(begin, n, out);
    if (n < count) {
      bottom.read(begin + n - top.out_features, count - n, out + n * top.in_features);
    }
  };
  if (!top.read_four_bits || !bottom.read_four_bits) return both;
  both.read_four_bits = [=](int64_t begin, int64_t count, const FourBitRows& out) {
    const int64_t n = of_top(begin, count);
    if (n > 0) top.read_four_bits(begin, n, out);
    if (n < count) {
      bottom.read_four_bits(begin + n - top.out_features, count - n, out.From(n, top.in_features));
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
    return Load(source, use);
  }

  absl::StatusOr<std::unique_ptr<Weight>> Stacked(const std::string& top, const std::string& bottom,
                                                  WeightUse use) const {
    ASSIGN_OR_RETURN(const WeightSource a, file_.Tensor(top));
    ASSIGN_OR_RETURN(const WeightSource b, file_.Tensor(bottom));
    return Load(Stack(a, b), use);
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
  absl::StatusOr<std::unique_ptr<Weight>> Load(const WeightSource& source, WeightUse use) const {
    // Of a file in 4 bits the embedding often has more bits.
    const bool more = type_ == WeightType::kInt4 && !source.read_four_bits;
    return ops_.LoadWeight(source, more ? WeightType::kInt8 : type_, use);
  }

  const ModelFile& file_;
  const WeightType type_;
  Ops& ops_;
};

// Whether a layer has a matrix in 4 bits.
bool HasFourBits(const ModelFile& file) {
  for (int32_t i = 0; i < file.config().layers; ++i) {
    for (const char* name : {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                             "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}) {
      const auto source = file.Tensor(absl::StrCat("model.layers.", i, ".", name, ".weight"));
      if (source.ok() && source->read_four_bits) return true;
    }
  }
  return false;
}

}  // namespace

absl::StatusOr<DecoderWeights> LoadDecoderWeights(const ModelFile& file, WeightType type,
                                                  int64_t positions, Ops& ops) {
  const ModelConfig& c = file.config();
  if (type == WeightType::kInt4 && !HasFourBits(file)) {
    return absl::InvalidArgumentError(
        "--dtype int4 keeps the weights that a file has in 4 bits (Q4_0, Q4_1, Q4_K), and this one "
        "has none: take int8, or a file quantized to 4 bits");
  }
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
