// The pre-tokenizer families that GGUF files name by one word, written out as rules of a
// TokenizerSpec. It knows names and patterns only; running them is PreTokenizer's work
// (pretokenizer_split.h). Plain functions, safe from any thread.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "engine/model_file.h"

namespace skipserve {

// Fills split_patterns, split_digits_alone, add_prefix_space, ignore_merges and nfc from the value
// of `tokenizer.ggml.pre`; every other field is left alone. INVALID_ARGUMENT names a family it does
// not know. Known: "smollm"; "gpt2", "gpt-2", "default"; "llama-bpe", "llama3", "llama-v3";
// "qwen2".
absl::Status SetPreTokenizer(absl::string_view gguf_pre_name, TokenizerSpec* spec);

// GPT-2's pattern, which a tokenizer.json does not spell out: its ByteLevel pre-tokenizer with
// use_regex means this.
absl::string_view Gpt2SplitPattern();

}  // namespace skipserve
