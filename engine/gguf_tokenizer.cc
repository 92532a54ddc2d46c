// A GGUF file's metadata as a byte-level BPE vocabulary.
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/gguf_model.h"
#include "engine/model_file_checks.h"
#include "engine/model_file_utf8.h"
#include "engine/pretokenizer.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

using TokenKind = TokenizerSpec::TokenKind;

absl::StatusOr<TokenKind> KindOf(int32_t token_type) {
  switch (token_type) {
    case 1:
      return TokenKind::kNormal;
    case 2:
      return TokenKind::kSpecial;  // "unknown": recognised as the control tokens are
    case 3:
      return TokenKind::kSpecial;
    case 4:
      return TokenKind::kUserDefined;
    case 5:
      return TokenKind::kUnused;
    case 6:
      return TokenKind::kNormal;  // a byte; here every byte is a normal token
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("tokenizer.ggml.token_type holds ", token_type, ", which is unknown"));
  }
}

absl::Status ReadTokens(const GgufMetadata& metadata, TokenizerSpec* spec) {
  ASSIGN_OR_RETURN(const auto tokens, metadata.Strings("tokenizer.ggml.tokens"));
  std::vector<int32_t> types(tokens.size(), 1);
  if (metadata.Has("tokenizer.ggml.token_type")) {
    ASSIGN_OR_RETURN(types, metadata.Ints("tokenizer.ggml.token_type"));
    if (types.size() != tokens.size()) {
      return absl::InvalidArgumentError(absl::StrCat("tokenizer.ggml.token_type has ", types.size(),
                                                     " entries for ", tokens.size(), " tokens"));
    }
  }
  spec->tokens.reserve(tokens.size());
  spec->kinds.reserve(tokens.size());
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (!IsValidUtf8(tokens[id])) {
      return absl::InvalidArgumentError(
          absl::StrCat("token ", id, " of tokenizer.ggml.tokens is not UTF-8"));
    }
    ASSIGN_OR_RETURN(const TokenKind kind, KindOf(types[id]));
    spec->tokens.emplace_back(tokens[id]);
    spec->kinds.push_back(kind);
  }
  return absl::OkStatus();
}

absl::Status ReadMerges(const GgufMetadata& metadata, TokenizerSpec* spec) {
  ASSIGN_OR_RETURN(const auto merges, metadata.Strings("tokenizer.ggml.merges"));
  spec->merges.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const absl::string_view merge = merges[rank];
    const size_t space = merge.find(' ');
    if (space == absl::string_view::npos || space == 0 || space + 1 == merge.size() ||
        !IsValidUtf8(merge)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "entry ", rank, " of tokenizer.ggml.merges is no pair of tokens with a space between"));
    }
    spec->merges.emplace_back(std::string(merge.substr(0, space)),
                              std::string(merge.substr(space + 1)));
  }
  return absl::OkStatus();
}

// -1 where the key is missing or holds the converter's word for "none", all bits set.
absl::StatusOr<int32_t> ReadId(const GgufMetadata& metadata, absl::string_view key) {
  ASSIGN_OR_RETURN(const int64_t id, metadata.IntOr(key, -1));
  if (id == -1 || id == 0xffffffff) return -1;
  if (id < 0 || id > 0x7fffffff) {
    return absl::InvalidArgumentError(
        absl::StrCat("metadata key ", key, " is ", id, ", which is no token id"));
  }
  return static_cast<int32_t>(id);
}

}  // namespace

absl::StatusOr<TokenizerSpec> GgufTokenizer(const GgufMetadata& metadata, int32_t vocab_size) {
  ASSIGN_OR_RETURN(const std::string model, metadata.String("tokenizer.ggml.model"));
  if (model != "gpt2") {
    return absl::InvalidArgumentError(
        absl::StrCat("tokenizer.ggml.model is '", model,
                     "', but only 'gpt2' (byte-level BPE) is supported; use a model with one"));
  }
  TokenizerSpec spec;
  RETURN_IF_ERROR(ReadTokens(metadata, &spec));
  RETURN_IF_ERROR(ReadMerges(metadata, &spec));
  ASSIGN_OR_RETURN(const std::string pre, metadata.StringOr("tokenizer.ggml.pre", "default"));
  RETURN_IF_ERROR(SetPreTokenizer(pre, &spec));
  ASSIGN_OR_RETURN(spec.add_prefix_space,
                   metadata.BoolOr("tokenizer.ggml.add_space_prefix", spec.add_prefix_space));
  ASSIGN_OR_RETURN(spec.bos_id, ReadId(metadata, "tokenizer.ggml.bos_token_id"));
  ASSIGN_OR_RETURN(spec.eos_id, ReadId(metadata, "tokenizer.ggml.eos_token_id"));
  for (const absl::string_view key :
       {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
    ASSIGN_OR_RETURN(const int32_t id, ReadId(metadata, key));
    if (id != -1) spec.eos_ids.push_back(id);
  }
  // Llama 3's first converters did not write the key; its prompts begin with BOS all the same.
  const bool llama3 = pre == "llama-bpe" || pre == "llama3" || pre == "llama-v3";
  ASSIGN_OR_RETURN(spec.add_bos,
                   metadata.BoolOr("tokenizer.ggml.add_bos_token", llama3 && spec.bos_id != -1));
  ASSIGN_OR_RETURN(spec.chat_template, metadata.StringOr("tokenizer.chat_template", ""));
  RETURN_IF_ERROR(FinishTokenizer(vocab_size, &spec));
  return spec;
}

}  // namespace skipserve
