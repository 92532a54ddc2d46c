// A GGUF file's metadata as the shape of a model.
#include <limits>

#include "absl/strings/str_cat.h"
#include "engine/gguf_model.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

// The metadata below the architecture's own prefix, such as "llama.block_count".
class Section {
 public:
  Section(const GgufMetadata& metadata, const std::string& prefix)
      : metadata_(metadata), prefix_(prefix) {}

  std::string Key(absl::string_view key) const { return absl::StrCat(prefix_, ".", key); }

  absl::Status Read(absl::string_view key, int32_t* out) const {
    ASSIGN_OR_RETURN(const int64_t value, metadata_.Int(Key(key)));
    if (value < 0 || value > std::numeric_limits<int32_t>::max()) {
      return absl::InvalidArgumentError(
          absl::StrCat("metadata key ", Key(key), " is ", value, ", which is out of range"));
    }
    *out = static_cast<int32_t>(value);
    return absl::OkStatus();
  }

  // Leaves *out as it is where the key is missing.
  absl::Status ReadIfThere(absl::string_view key, int32_t* out) const {
    return metadata_.Has(Key(key)) ? Read(key, out) : absl::OkStatus();
  }

 private:
  const GgufMetadata& metadata_;
  std::string prefix_;
};

absl::Status ReadScaling(const GgufMetadata& metadata, const Section& section, RopeScaling* out) {
  const std::string type_key = section.Key("rope.scaling.type");
  ASSIGN_OR_RETURN(const std::string type, metadata.StringOr(type_key, "none"));
  if (type == "none") return absl::OkStatus();
  if (type != "linear") {
    return absl::InvalidArgumentError(
        absl::StrCat(type_key, " is '", type,
                     "', but only none, linear and llama3's rope_freqs.weight are supported"));
  }
  out->kind = RopeScaling::Kind::kLinear;
  ASSIGN_OR_RETURN(out->factor, metadata.Double(section.Key("rope.scaling.factor")));
  ASSIGN_OR_RETURN(out->original_max_positions,
                   metadata.IntOr(section.Key("rope.scaling.original_context_length"),
                                  out->original_max_positions));
  return absl::OkStatus();
}

// Head sizes: the width over the heads unless said otherwise, and the same for K, V and RoPE.
absl::Status ReadHeads(const Section& section, ModelConfig* c) {
  RETURN_IF_ERROR(section.Read("attention.head_count", &c->heads));
  c->kv_heads = c->heads;
  RETURN_IF_ERROR(section.ReadIfThere("attention.head_count_kv", &c->kv_heads));
  int32_t key_length = 0;
  RETURN_IF_ERROR(section.ReadIfThere("attention.key_length", &key_length));
  if (key_length == 0) {
    if (c->heads == 0 || c->width % c->heads != 0) {
      return absl::InvalidArgumentError(absl::StrCat("the model's width (", c->width,
                                                     ") is no multiple of its heads (", c->heads,
                                                     "), and the file gives no key_length"));
    }
    key_length = c->width / c->heads;
  }
  c->head_dim = key_length;
  for (const absl::string_view key : {"attention.value_length", "rope.dimension_count"}) {
    int32_t same = key_length;
    RETURN_IF_ERROR(section.ReadIfThere(key, &same));
    if (same != key_length) {
      return absl::InvalidArgumentError(absl::StrCat(section.Key(key), " is ", same,
                                                     ", but only the head's whole size (",
                                                     key_length, ") is supported"));
    }
  }
  return absl::OkStatus();
}

// Variants of these architectures that compute something the decoder does not.
absl::Status RefuseVariants(const Section& section) {
  for (const absl::string_view key : {"expert_count", "attention.sliding_window"}) {
    int32_t value = 0;
    RETURN_IF_ERROR(section.ReadIfThere(key, &value));
    if (value != 0) {
      return absl::InvalidArgumentError(absl::StrCat("metadata key ", section.Key(key), " is ",
                                                     value, ", which is not supported"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelConfig> GgufConfig(const GgufFile& file) {
  const GgufMetadata& metadata = file.metadata;
  ModelConfig c;
  ASSIGN_OR_RETURN(c.architecture, metadata.String("general.architecture"));
  if (c.architecture != "llama" && c.architecture != "qwen2") {
    return absl::InvalidArgumentError(absl::StrCat("architecture '", c.architecture,
                                                   "' is not supported; only llama and qwen2 are"));
  }
  ASSIGN_OR_RETURN(c.name, metadata.StringOr("general.name", ""));
  const Section section(metadata, c.architecture);
  RETURN_IF_ERROR(RefuseVariants(section));
  RETURN_IF_ERROR(section.Read("block_count", &c.layers));
  RETURN_IF_ERROR(section.Read("embedding_length", &c.width));
  RETURN_IF_ERROR(section.Read("feed_forward_length", &c.ffn_width));
  RETURN_IF_ERROR(ReadHeads(section, &c));
  ASSIGN_OR_RETURN(c.max_positions, metadata.Int(section.Key("context_length")));
  ASSIGN_OR_RETURN(const double eps,
                   metadata.Double(section.Key("attention.layer_norm_rms_epsilon")));
  c.norm_eps = static_cast<float>(eps);
  ASSIGN_OR_RETURN(c.rope_theta, metadata.DoubleOr(section.Key("rope.freq_base"), 10000.0));
  RETURN_IF_ERROR(ReadScaling(metadata, section, &c.rope_scaling));

  // The table of embeddings is the truth; files of old converters give no size.
  const auto table = file.tensors.find("token_embd.weight");
  if (table == file.tensors.end() || table->second.shape.size() != 2) {
    return absl::InvalidArgumentError("tensor token_embd.weight is missing or no matrix");
  }
  if (table->second.shape[0] > std::numeric_limits<int32_t>::max()) {
    return absl::InvalidArgumentError("tensor token_embd.weight has too many rows");
  }
  c.vocab_size = static_cast<int32_t>(table->second.shape[0]);
  int32_t declared = c.vocab_size;
  RETURN_IF_ERROR(section.ReadIfThere("vocab_size", &declared));
  if (declared != c.vocab_size) {
    return absl::InvalidArgumentError(absl::StrCat(section.Key("vocab_size"), " is ", declared,
                                                   ", but token_embd.weight has ", c.vocab_size,
                                                   " rows"));
  }
  c.tied_embeddings = !file.tensors.contains("output.weight");
  c.qkv_bias = c.architecture == "qwen2";
  return c;
}

}  // namespace skipserve
