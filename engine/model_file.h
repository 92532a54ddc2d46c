// An opened model: its shape, its tokenizer's data, and its weights by name, from a GGUF file or a
// Hugging Face folder. Immutable after Open, so it may be read from any thread. Memory-mapped:
// weights are read only when asked for.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/model_config.h"
#include "kernels/ops.h"

namespace skipserve {

// A byte-level BPE vocabulary as a model file carries it. Token texts are in GPT-2's
// byte-to-unicode alphabet, except special and user-defined tokens, which are plain UTF-8.
struct TokenizerSpec {
  enum class TokenKind : uint8_t { kNormal, kSpecial, kUserDefined, kUnused };
  std::vector<std::string> tokens;                          // by id
  std::vector<TokenKind> kinds;                             // by id, same size
  std::vector<std::pair<std::string, std::string>> merges;  // by rank
  std::vector<std::string>
      split_patterns;               // regexes of the pre-tokenizer, applied one after the other
  bool split_digits_alone = false;  // every digit is its own piece, before the patterns
  bool add_prefix_space = false;
  bool ignore_merges = false;  // a piece that is a whole token is taken as it is (Llama 3)
  bool nfc = false;            // normalise to NFC first (Qwen2)
  bool add_bos = false;        // Encode of a whole prompt puts bos_id first
  int32_t bos_id = -1;
  int32_t eos_id = -1;           // the one that the file declares: what a template calls eos_token
  std::vector<int32_t> eos_ids;  // any of these ends an answer; eos_id is among them
  std::string chat_template;     // Jinja source; may be empty
};

class ModelFile {
 public:
  virtual ~ModelFile() = default;

  // `path` is a .gguf file or a folder with config.json, *.safetensors and tokenizer.json.
  // NOT_FOUND, INVALID_ARGUMENT (damaged, or something in it is not supported: the message names
  // it). What opens has every weight that its config asks for, in its shape.
  static absl::StatusOr<std::unique_ptr<ModelFile>> Open(const std::string& path);

  virtual const ModelConfig& config() const = 0;
  virtual const TokenizerSpec& tokenizer() const = 0;

  // A two-dimensional weight, or a vector as one row [1, n], by its Hugging Face name, such as
  // "model.layers.0.self_attn.q_proj.weight". Rows of Q and K are in the order of half-rotated
  // (NeoX) RoPE, whatever the file's order is. The source reads from this ModelFile, which must
  // outlive it. NOT_FOUND names the tensor.
  virtual absl::StatusOr<WeightSource> Tensor(absl::string_view name) const = 0;

  // 64 hex digits: SHA-256 over the shape and samples of every tensor's data. Ties a skip file to
  // its model.
  virtual const std::string& fingerprint() const = 0;
};

}  // namespace skipserve
