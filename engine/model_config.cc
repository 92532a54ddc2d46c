// The limits of every number of a model's shape. They are wide (no model in sight comes near them)
// and low enough that products of any three fit in 63 bits.
#include "engine/model_config.h"

#include <cmath>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace skipserve {
namespace {

absl::Status Between(absl::string_view field, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the model's ", field, " is ", value, ", but must lie in ", low, " .. ", high));
}

absl::Status Between(absl::string_view field, double value, double low, double high) {
  if (value >= low && value <= high) return absl::OkStatus();  // false for NaN
  return absl::InvalidArgumentError(
      absl::StrCat("the model's ", field, " is ", value, ", but must lie in ", low, " .. ", high));
}

absl::Status CheckScaling(const RopeScaling& s) {
  if (s.kind == RopeScaling::Kind::kNone) return absl::OkStatus();
  if (auto st = Between("rope_scaling.factor", s.factor, 1.0, 1e6); !st.ok()) return st;
  if (s.kind == RopeScaling::Kind::kLinear) return absl::OkStatus();
  if (auto st = Between("rope_scaling.low_freq_factor", s.low_freq_factor, 1e-6, 1e6); !st.ok()) {
    return st;
  }
  if (auto st = Between("rope_scaling.high_freq_factor", s.high_freq_factor, 1e-6, 1e6); !st.ok()) {
    return st;
  }
  if (s.high_freq_factor <= s.low_freq_factor) {
    return absl::InvalidArgumentError(
        absl::StrCat("the model's rope_scaling.high_freq_factor (", s.high_freq_factor,
                     ") must be greater than its low_freq_factor (", s.low_freq_factor, ")"));
  }
  return Between("rope_scaling.original_max_positions", s.original_max_positions, 1,
                 int64_t{1} << 24);
}

}  // namespace

absl::Status ValidateConfig(const ModelConfig& c) {
  if (c.architecture != "llama" && c.architecture != "qwen2") {
    return absl::InvalidArgumentError(absl::StrCat("the model's architecture is '", c.architecture,
                                                   "', but only llama and qwen2 are supported"));
  }
  struct Field {
    absl::string_view name;
    int64_t value, low, high;
  };
  const Field fields[] = {
      {"layers", c.layers, 1, 1024},
      {"width", c.width, 1, 1 << 17},
      {"ffn_width", c.ffn_width, 1, 1 << 20},
      {"heads", c.heads, 1, 2048},
      {"kv_heads", c.kv_heads, 1, 2048},
      {"head_dim", c.head_dim, 2, 1024},
      {"vocab_size", c.vocab_size, 1, 1 << 22},
      {"max_positions", c.max_positions, 1, int64_t{1} << 24},
  };
  for (const Field& f : fields) {
    if (auto st = Between(f.name, f.value, f.low, f.high); !st.ok()) return st;
  }
  if (c.heads % c.kv_heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the model's heads (", c.heads, ") must be a multiple of its kv_heads (", c.kv_heads, ")"));
  }
  if (c.head_dim % 2 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("the model's head_dim (", c.head_dim, ") must be even for RoPE"));
  }
  if (auto st = Between("norm_eps", c.norm_eps, 0.0, 0.1); !st.ok()) return st;
  if (auto st = Between("rope_theta", c.rope_theta, 1.0, 1e12); !st.ok()) return st;
  return CheckScaling(c.rope_scaling);
}

}  // namespace skipserve
