#include "engine/pretokenizer.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace skipserve {
namespace {

constexpr absl::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// Llama 3 takes digits in threes, Qwen2 one by one; the rest is the same.
constexpr absl::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr absl::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

struct Family {
  absl::string_view name;
  absl::string_view pattern;
  bool split_digits_alone;
  bool ignore_merges;
  bool nfc;
};

constexpr Family kFamilies[] = {
    {"smollm", kGpt2, true, false, false},      {"gpt2", kGpt2, false, false, false},
    {"gpt-2", kGpt2, false, false, false},      {"default", kGpt2, false, false, false},
    {"llama-bpe", kLlama3, false, true, false}, {"llama3", kLlama3, false, true, false},
    {"llama-v3", kLlama3, false, true, false},  {"qwen2", kQwen2, false, false, true},
};

}  // namespace

absl::string_view Gpt2SplitPattern() { return kGpt2; }

absl::Status SetPreTokenizer(absl::string_view gguf_pre_name, TokenizerSpec* spec) {
  for (const Family& family : kFamilies) {
    if (family.name != gguf_pre_name) continue;
    spec->split_patterns = {std::string(family.pattern)};
    spec->split_digits_alone = family.split_digits_alone;
    spec->add_prefix_space = false;
    spec->ignore_merges = family.ignore_merges;
    spec->nfc = family.nfc;
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the pre-tokenizer '", gguf_pre_name,
                   "' is not supported (known: smollm, gpt2, default, llama-bpe, qwen2)"));
}

}  // namespace skipserve
