// A Hugging Face folder's tokenizer.json and tokenizer_config.json as a byte-level BPE vocabulary.
// A pure function, safe from any thread. What a TokenizerSpec cannot express is refused, except the
// lstrip, rstrip and single_word of added tokens, which llama and qwen2 models leave off.
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/hf_config.h"
#include "engine/hf_json.h"
#include "engine/model_file.h"

namespace skipserve {

struct HfTokenizerFiles {
  absl::string_view tokenizer_json;
  absl::string_view tokenizer_config_json;  // may be empty
  absl::string_view chat_template_jinja;    // may be empty; goes before tokenizer_config.json's
};

// INVALID_ARGUMENT names the part, not the file.
absl::StatusOr<TokenizerSpec> ParseHfTokenizer(const HfTokenizerFiles& files,
                                               const HfConfig& config);

// The part above that reads "normalizer" and "pre_tokenizer".
absl::Status ReadHfPreTokenizer(const Json& tokenizer, TokenizerSpec* spec);

}  // namespace skipserve
