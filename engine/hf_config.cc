#include "engine/hf_config.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "engine/hf_json.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

absl::StatusOr<std::string> ReadArchitecture(const Json& config) {
  const Json* list = Member(config, "architectures");
  if (list == nullptr || !list->is_array() || list->size() != 1 || !(*list)[0].is_string()) {
    return absl::InvalidArgumentError("'architectures' must be a list of one name");
  }
  const std::string& name = (*list)[0].get_ref<const std::string&>();
  if (name == "LlamaForCausalLM") return "llama";
  if (name == "Qwen2ForCausalLM") return "qwen2";
  return absl::InvalidArgumentError(
      absl::StrCat("architecture '", name,
                   "' is not supported; only LlamaForCausalLM and Qwen2ForCausalLM are"));
}

// Settings under which these architectures compute something the decoder does not.
absl::Status RefuseVariants(const Json& config) {
  for (const absl::string_view key : {"attention_bias", "mlp_bias", "use_sliding_window"}) {
    ASSIGN_OR_RETURN(const bool on, ReadBoolOr(config, key, false));
    if (on) return absl::InvalidArgumentError(absl::StrCat("'", key, "' true is not supported"));
  }
  if (Member(config, "quantization_config") != nullptr) {
    return absl::InvalidArgumentError(
        "'quantization_config': quantized folders are not supported; use the original model in "
        "F32, F16 or BF16, or a quantized GGUF file");
  }
  ASSIGN_OR_RETURN(const std::string act, ReadStringOr(config, "hidden_act", "silu"));
  if (act != "silu") {
    return absl::InvalidArgumentError(
        absl::StrCat("'hidden_act' is '", act, "', but only silu is supported"));
  }
  ASSIGN_OR_RETURN(const double rotary, ReadDoubleOr(config, "partial_rotary_factor", 1.0));
  if (rotary != 1.0) {
    return absl::InvalidArgumentError("'partial_rotary_factor' other than 1 is not supported");
  }
  if (const Json* types = Member(config, "layer_types"); types != nullptr) {
    if (!types->is_array()) return absl::InvalidArgumentError("'layer_types' must be a list");
    for (const Json& type : *types) {
      if (!type.is_string() || type.get_ref<const std::string&>() != "full_attention") {
        return absl::InvalidArgumentError(
            "'layer_types' may only hold full_attention; other kinds are not supported");
      }
    }
  }
  return absl::OkStatus();
}

// Older files have rope_theta beside rope_scaling, newer ones all in rope_parameters.
absl::Status ReadRope(const Json& config, ModelConfig* c) {
  ASSIGN_OR_RETURN(c->rope_theta, ReadDoubleOr(config, "rope_theta", 10000.0));
  const Json* rope = Member(config, "rope_parameters");
  if (rope == nullptr) rope = Member(config, "rope_scaling");
  if (rope == nullptr) return absl::OkStatus();
  if (!rope->is_object()) {
    return absl::InvalidArgumentError("'rope_parameters' or 'rope_scaling' must be an object");
  }
  ASSIGN_OR_RETURN(c->rope_theta, ReadDoubleOr(*rope, "rope_theta", c->rope_theta));
  ASSIGN_OR_RETURN(const std::string old_type, ReadStringOr(*rope, "type", "default"));
  ASSIGN_OR_RETURN(const std::string type, ReadStringOr(*rope, "rope_type", old_type));
  RopeScaling& s = c->rope_scaling;
  if (type == "default") return absl::OkStatus();
  if (type != "linear" && type != "llama3") {
    return absl::InvalidArgumentError(absl::StrCat(
        "RoPE scaling '", type, "' is not supported; only default, linear and llama3 are"));
  }
  ASSIGN_OR_RETURN(s.factor, ReadDouble(*rope, "factor"));
  s.kind = RopeScaling::Kind::kLinear;
  if (type == "linear") return absl::OkStatus();
  s.kind = RopeScaling::Kind::kLlama3;
  ASSIGN_OR_RETURN(s.low_freq_factor, ReadDouble(*rope, "low_freq_factor"));
  ASSIGN_OR_RETURN(s.high_freq_factor, ReadDouble(*rope, "high_freq_factor"));
  ASSIGN_OR_RETURN(s.original_max_positions, ReadInt(*rope, "original_max_position_embeddings"));
  return absl::OkStatus();
}

absl::Status AppendEosIds(const Json& file, std::vector<int32_t>* out) {
  const Json* value = Member(file, "eos_token_id");
  if (value == nullptr) return absl::OkStatus();
  const auto append = [&](const Json& id) -> absl::Status {
    const auto number = ToInt(id);
    if (!number.ok() || *number < 0 || *number > std::numeric_limits<int32_t>::max()) {
      return absl::InvalidArgumentError("'eos_token_id' must be a token id or a list of them");
    }
    out->push_back(static_cast<int32_t>(*number));
    return absl::OkStatus();
  };
  if (!value->is_array()) return append(*value);
  for (const Json& id : *value) RETURN_IF_ERROR(append(id));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<HfConfig> ParseHfConfig(absl::string_view config_json,
                                       absl::string_view generation_json) {
  ASSIGN_OR_RETURN(const Json config, ParseJson(config_json));
  if (!config.is_object()) return absl::InvalidArgumentError("not a JSON object");
  HfConfig out;
  ModelConfig& c = out.model;
  ASSIGN_OR_RETURN(c.architecture, ReadArchitecture(config));
  RETURN_IF_ERROR(RefuseVariants(config));
  ASSIGN_OR_RETURN(c.name, ReadStringOr(config, "_name_or_path", ""));
  ASSIGN_OR_RETURN(c.layers, ReadInt32(config, "num_hidden_layers"));
  ASSIGN_OR_RETURN(c.width, ReadInt32(config, "hidden_size"));
  ASSIGN_OR_RETURN(c.ffn_width, ReadInt32(config, "intermediate_size"));
  ASSIGN_OR_RETURN(c.heads, ReadInt32(config, "num_attention_heads"));
  c.kv_heads = c.heads;
  if (Member(config, "num_key_value_heads") != nullptr) {
    ASSIGN_OR_RETURN(c.kv_heads, ReadInt32(config, "num_key_value_heads"));
  }
  if (Member(config, "head_dim") != nullptr) {
    ASSIGN_OR_RETURN(c.head_dim, ReadInt32(config, "head_dim"));
  } else if (c.heads > 0 && c.width % c.heads == 0) {
    c.head_dim = c.width / c.heads;
  } else {
    return absl::InvalidArgumentError(absl::StrCat("'hidden_size' (", c.width,
                                                   ") is no multiple of 'num_attention_heads' (",
                                                   c.heads, "), and there is no 'head_dim'"));
  }
  ASSIGN_OR_RETURN(c.vocab_size, ReadInt32(config, "vocab_size"));
  ASSIGN_OR_RETURN(c.max_positions, ReadInt(config, "max_position_embeddings"));
  ASSIGN_OR_RETURN(const double eps, ReadDouble(config, "rms_norm_eps"));
  c.norm_eps = static_cast<float>(eps);
  RETURN_IF_ERROR(ReadRope(config, &c));
  ASSIGN_OR_RETURN(c.tied_embeddings, ReadBoolOr(config, "tie_word_embeddings", false));
  c.qkv_bias = c.architecture == "qwen2";

  if (Member(config, "bos_token_id") != nullptr) {
    ASSIGN_OR_RETURN(out.bos_id, ReadInt32(config, "bos_token_id"));
  }
  RETURN_IF_ERROR(AppendEosIds(config, &out.eos_ids));
  if (!generation_json.empty()) {
    ASSIGN_OR_RETURN(const Json generation, ParseJson(generation_json));
    RETURN_IF_ERROR(AppendEosIds(generation, &out.eos_ids));
  }
  return out;
}

}  // namespace skipserve
