// The shape of a transformer: everything the one decoder needs to know of a model besides its
// weights.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace skipserve {

struct RopeScaling {
  enum class Kind { kNone, kLinear, kLlama3 };
  Kind kind = Kind::kNone;
  double factor = 1.0;
  // llama3 only (Llama 3.1's frequency-dependent scaling).
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  int64_t original_max_positions = 8192;
};

struct ModelConfig {
  std::string architecture;  // "llama" or "qwen2"
  std::string name;          // the model's own name, as its file gives it; may be empty
  int32_t layers = 0;
  int32_t width = 0;
  int32_t ffn_width = 0;
  int32_t heads = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
  int32_t vocab_size = 0;
  int64_t max_positions = 0;  // context length in tokens
  float norm_eps = 1e-5f;
  double rope_theta = 10000.0;
  RopeScaling rope_scaling;
  bool tied_embeddings = false;
  bool qkv_bias = false;
};

// INVALID_ARGUMENT naming the field, where a value is missing, out of range, or does not fit
// another.
absl::Status ValidateConfig(const ModelConfig& config);

}  // namespace skipserve
