#include "server/inspect_facts.h"

#include <filesystem>
#include <memory>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "engine/chat_template.h"
#include "engine/describe_levels.h"
#include "engine/model_file.h"
#include "engine/open_model.h"
#include "engine/skip/levels.h"
#include "engine/skip/ready_settings.h"
#include "engine/skip/skip_file.h"
#include "engine/status_macros.h"
#include "engine/tokenizer.h"

namespace skipserve {
namespace {

int64_t FileBytes(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (!fs::is_directory(path, error)) return static_cast<int64_t>(fs::file_size(path, error));
  int64_t bytes = 0;
  for (fs::directory_iterator it(path, error); !error && it != fs::directory_iterator();
       it.increment(error)) {
    std::error_code ignored;
    if (it->path().extension() == ".safetensors") {
      bytes += static_cast<int64_t>(it->file_size(ignored));
    }
  }
  return bytes;
}

absl::Status ReadText(const ModelFile& model, ModelFacts& facts) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer,
                   Tokenizer::Create(model.tokenizer()));
  const TokenizerSpec& spec = tokenizer->spec();
  const auto text = [&](int32_t id) { return std::string(tokenizer->TokenBytes(id)); };
  facts.vocabulary = tokenizer->vocab_size();
  for (int32_t id = 0; id < facts.vocabulary; ++id) {
    facts.special_tokens += tokenizer->IsSpecial(id) ? 1 : 0;
  }
  facts.add_bos = spec.add_bos;
  if (spec.bos_id >= 0) facts.bos = text(spec.bos_id);
  for (const int32_t id : spec.eos_ids) facts.eos.push_back(text(id));
  if (spec.chat_template.empty()) {
    facts.chat_template = "none";
    return absl::OkStatus();
  }
  const auto parsed = ChatTemplate::Parse(spec.chat_template, facts.bos, text(spec.eos_id));
  facts.chat_template =
      parsed.ok() ? "yes" : absl::StrCat("cannot be used: ", parsed.status().message());
  return absl::OkStatus();
}

absl::Status ReadSkip(const EngineOptions& options, ModelFacts& facts) {
  const ModelConfig& config = facts.config;
  facts.skip_file = options.skip_file.empty() ? SkipFilePath(facts.path) : options.skip_file;
  const absl::StatusOr<SkipFile> file =
      ReadSkipFile(facts.skip_file, facts.path, config, facts.fingerprint);
  SkipSettings settings = file.ok() ? file->settings : ReadySettings(config);
  facts.skip_file_valid = file.ok();
  if (file.ok()) {
    facts.skip_file_state = "valid";
    facts.proxy = file->proxy_shape();
  } else {
    facts.skip_file_state =
        absl::IsNotFound(file.status()) ? "none" : std::string(file.status().message());
  }
  if (options.skip_min_prompt > 0) settings.min_prompt = options.skip_min_prompt;
  const SkipLevels levels(config, settings, facts.proxy, /*enabled=*/true);
  facts.default_level = settings.default_level;
  facts.min_prompt = settings.min_prompt;
  facts.levels = DescribeLevels(levels, config, config.max_positions);
  return absl::OkStatus();
}

}  // namespace

int64_t CountParameters(const ModelConfig& c) {
  const int64_t width = c.width, q = int64_t{c.heads} * c.head_dim;
  const int64_t kv = int64_t{c.kv_heads} * c.head_dim;
  int64_t layer = width * (2 * q + 2 * kv) + 3 * width * c.ffn_width + 2 * width;
  if (c.qkv_bias) layer += q + 2 * kv;
  const int64_t embeddings = int64_t{c.vocab_size} * width * (c.tied_embeddings ? 1 : 2);
  return c.layers * layer + embeddings + width;
}

absl::StatusOr<ModelFacts> ReadModelFacts(const EngineOptions& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<ModelFile> model, ModelFile::Open(options.model_path));
  ModelFacts facts;
  facts.path = options.model_path;
  facts.config = model->config();
  facts.fingerprint = model->fingerprint();
  facts.parameters = CountParameters(facts.config);
  facts.file_bytes = FileBytes(facts.path);
  ASSIGN_OR_RETURN(const Precision precision, ChoosePrecision(options.dtype, options.kv_dtype));
  facts.dtype = precision.name;
  facts.kv_dtype = precision.kv_name;
  const KvLayout layout = {precision.kv, 1, facts.config.kv_heads, facts.config.head_dim};
  facts.kv_bytes_per_token = facts.config.layers * static_cast<int64_t>(layout.token_bytes());
  RETURN_IF_ERROR(ReadText(*model, facts));
  RETURN_IF_ERROR(ReadSkip(options, facts));
  return facts;
}

}  // namespace skipserve
