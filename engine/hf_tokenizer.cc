#include "engine/hf_tokenizer.h"

#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "engine/model_file_checks.h"
#include "engine/model_file_utf8.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

using TokenKind = TokenizerSpec::TokenKind;

// Tokens by id while they are gathered; the ids in a file come in any order.
class Vocabulary {
 public:
  Vocabulary(int32_t limit, TokenizerSpec* spec) : limit_(limit), spec_(spec) {}

  absl::Status Add(const Json& id_value, const std::string& text, TokenKind kind) {
    const auto id = ToInt(id_value);
    if (!id.ok() || *id < 0 || *id >= limit_) {
      return absl::InvalidArgumentError(absl::StrCat("token '", text, "' has no id in 0 .. ",
                                                     limit_ - 1, ", the model's vocabulary"));
    }
    const auto i = static_cast<size_t>(*id);
    if (i >= set_.size()) {
      set_.resize(i + 1, false);
      spec_->tokens.resize(i + 1);
      spec_->kinds.resize(i + 1, TokenKind::kUnused);
    }
    if (set_[i] && spec_->tokens[i] != text) {
      return absl::InvalidArgumentError(
          absl::StrCat("tokens '", spec_->tokens[i], "' and '", text, "' both have the id ", i));
    }
    set_[i] = true;
    spec_->tokens[i] = text;
    spec_->kinds[i] = kind;
    return absl::OkStatus();
  }

  void FillGaps() {
    for (size_t i = 0; i < set_.size(); ++i) {
      if (!set_[i]) spec_->tokens[i] = absl::StrCat("[PAD", i, "]");
    }
  }

 private:
  int64_t limit_;
  TokenizerSpec* spec_;
  std::vector<bool> set_;
};

absl::Status ReadTokens(const Json& model, const Json& tokenizer, int32_t vocab_size,
                        TokenizerSpec* spec) {
  const Json* vocab = Member(model, "vocab");
  if (vocab == nullptr || !vocab->is_object()) {
    return absl::InvalidArgumentError("model.vocab must be an object of tokens and ids");
  }
  Vocabulary vocabulary(vocab_size, spec);
  for (auto it = vocab->begin(); it != vocab->end(); ++it) {
    RETURN_IF_ERROR(vocabulary.Add(it.value(), it.key(), TokenKind::kNormal));
  }
  if (const Json* added = Member(tokenizer, "added_tokens"); added != nullptr) {
    if (!added->is_array()) return absl::InvalidArgumentError("added_tokens must be a list");
    for (const Json& token : *added) {
      ASSIGN_OR_RETURN(const std::string content, ReadString(token, "content"));
      ASSIGN_OR_RETURN(const bool special, ReadBoolOr(token, "special", false));
      const Json* id = Member(token, "id");
      if (id == nullptr) return absl::InvalidArgumentError("an added token has no id");
      RETURN_IF_ERROR(
          vocabulary.Add(*id, content, special ? TokenKind::kSpecial : TokenKind::kUserDefined));
    }
  }
  vocabulary.FillGaps();
  return absl::OkStatus();
}

absl::StatusOr<std::pair<std::string, std::string>> ReadMerge(const Json& merge) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return std::make_pair(merge[0].get<std::string>(), merge[1].get<std::string>());
  }
  if (merge.is_string()) {
    const std::string& text = merge.get_ref<const std::string&>();
    const size_t space = text.find(' ');
    if (space != std::string::npos && space > 0 && space + 1 < text.size()) {
      return std::make_pair(text.substr(0, space), text.substr(space + 1));
    }
  }
  return absl::InvalidArgumentError("an entry of model.merges is no pair of tokens");
}

absl::Status ReadModel(const Json& tokenizer, int32_t vocab_size, TokenizerSpec* spec) {
  const Json* model = Member(tokenizer, "model");
  if (model == nullptr) return absl::InvalidArgumentError("it has no model");
  ASSIGN_OR_RETURN(const std::string type, ReadStringOr(*model, "type", "BPE"));
  ASSIGN_OR_RETURN(const bool byte_fallback, ReadBoolOr(*model, "byte_fallback", false));
  ASSIGN_OR_RETURN(const std::string prefix, ReadStringOr(*model, "continuing_subword_prefix", ""));
  ASSIGN_OR_RETURN(const std::string suffix, ReadStringOr(*model, "end_of_word_suffix", ""));
  if (type != "BPE" || byte_fallback || !prefix.empty() || !suffix.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "its model '", type, "' ", byte_fallback ? "with byte_fallback " : "",
        "is not supported; only byte-level BPE without prefixes and suffixes of words is"));
  }
  ASSIGN_OR_RETURN(spec->ignore_merges, ReadBoolOr(*model, "ignore_merges", false));
  RETURN_IF_ERROR(ReadTokens(*model, tokenizer, vocab_size, spec));
  const Json* merges = Member(*model, "merges");
  if (merges == nullptr || !merges->is_array()) {
    return absl::InvalidArgumentError("model.merges must be a list");
  }
  spec->merges.reserve(merges->size());
  for (const Json& merge : *merges) {
    ASSIGN_OR_RETURN(auto pair, ReadMerge(merge));
    spec->merges.push_back(std::move(pair));
  }
  return absl::OkStatus();
}

using Ids = absl::flat_hash_map<absl::string_view, int32_t>;

// The template of one sequence may put the beginning token before it, and nothing else anywhere.
absl::Status ReadTemplate(const Json& processor, const Ids& ids, TokenizerSpec* spec) {
  const Json* single = Member(processor, "single");
  if (single == nullptr || !single->is_array()) {
    return absl::InvalidArgumentError("a TemplateProcessing has no list 'single'");
  }
  for (size_t i = 0; i < single->size(); ++i) {
    const Json* token = Member((*single)[i], "SpecialToken");
    if (token == nullptr) continue;
    ASSIGN_OR_RETURN(const std::string text, ReadString(*token, "id"));
    const auto id = ids.find(text);
    if (i != 0 || id == ids.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("its post_processor adds '", text,
                       "' where only one token of the vocabulary, at the beginning, is supported"));
    }
    spec->bos_id = id->second;
    spec->add_bos = true;
  }
  return absl::OkStatus();
}

absl::Status ReadPostProcessor(const Json& tokenizer, const Ids& ids, TokenizerSpec* spec) {
  const Json* processor = Member(tokenizer, "post_processor");
  if (processor == nullptr) return absl::OkStatus();
  const auto read_one = [&](const Json& one) -> absl::Status {
    ASSIGN_OR_RETURN(const std::string type, ReadString(one, "type"));
    if (type == "ByteLevel") return absl::OkStatus();  // offsets only
    if (type == "TemplateProcessing") return ReadTemplate(one, ids, spec);
    return absl::InvalidArgumentError(
        absl::StrCat("the post_processor '", type, "' is not supported"));
  };
  const Json* parts = Member(*processor, "processors");
  if (parts == nullptr || !parts->is_array()) return read_one(*processor);
  for (const Json& part : *parts) RETURN_IF_ERROR(read_one(part));
  return absl::OkStatus();
}

// "bos_token" and the like: a text, or an object with the text as its content. -1 where missing.
absl::StatusOr<int32_t> NamedToken(const Json& config, absl::string_view key, const Ids& ids) {
  const Json* value = Member(config, key);
  if (value == nullptr) return -1;
  auto text = ReadString(config, key);
  if (!text.ok()) text = ReadString(*value, "content");
  if (!text.ok()) return absl::InvalidArgumentError(absl::StrCat("'", key, "' must be a token"));
  const auto id = ids.find(*text);
  if (id == ids.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", key, "' is '", *text, "', which is not in the vocabulary"));
  }
  return id->second;
}

// A text, or a list of named ones, of which "default" counts, or the only one.
absl::StatusOr<std::string> ReadChatTemplate(const Json& config) {
  const Json* value = Member(config, "chat_template");
  if (value == nullptr) return "";
  if (value->is_string()) return value->get<std::string>();
  if (!value->is_array()) {
    return absl::InvalidArgumentError("'chat_template' must be a text or a list of named ones");
  }
  std::string chosen;
  for (const Json& named : *value) {
    ASSIGN_OR_RETURN(const std::string name, ReadString(named, "name"));
    ASSIGN_OR_RETURN(std::string text, ReadString(named, "template"));
    if (name == "default") return text;
    if (value->size() == 1) chosen = std::move(text);
  }
  return chosen;
}

absl::Status ReadTokenizerConfig(const Json& config, const Ids& ids, TokenizerSpec* spec) {
  ASSIGN_OR_RETURN(const int32_t bos, NamedToken(config, "bos_token", ids));
  if (!spec->add_bos && bos != -1) spec->bos_id = bos;
  ASSIGN_OR_RETURN(spec->eos_id, NamedToken(config, "eos_token", ids));
  ASSIGN_OR_RETURN(spec->add_bos, ReadBoolOr(config, "add_bos_token", spec->add_bos));
  ASSIGN_OR_RETURN(spec->chat_template, ReadChatTemplate(config));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TokenizerSpec> ParseHfTokenizer(const HfTokenizerFiles& files,
                                               const HfConfig& config) {
  ASSIGN_OR_RETURN(const Json tokenizer, ParseJson(files.tokenizer_json));
  TokenizerSpec spec;
  RETURN_IF_ERROR(ReadModel(tokenizer, config.model.vocab_size, &spec));
  RETURN_IF_ERROR(ReadHfPreTokenizer(tokenizer, &spec));
  Ids ids;
  for (size_t id = 0; id < spec.tokens.size(); ++id) {
    ids.emplace(spec.tokens[id], static_cast<int32_t>(id));
  }
  spec.bos_id = config.bos_id;
  spec.eos_ids = config.eos_ids;
  RETURN_IF_ERROR(ReadPostProcessor(tokenizer, ids, &spec));
  if (!files.tokenizer_config_json.empty()) {
    const auto parsed = ParseJson(files.tokenizer_config_json);
    if (!parsed.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("tokenizer_config.json: ", parsed.status().message()));
    }
    RETURN_IF_ERROR(ReadTokenizerConfig(*parsed, ids, &spec));
  }
  if (!files.chat_template_jinja.empty()) {
    if (!IsValidUtf8(files.chat_template_jinja)) {
      return absl::InvalidArgumentError("chat_template.jinja is not UTF-8");
    }
    spec.chat_template = std::string(files.chat_template_jinja);
  }
  RETURN_IF_ERROR(FinishTokenizer(config.model.vocab_size, &spec));
  return spec;
}

}  // namespace skipserve
