#include "engine/hf_folder.h"

#include <map>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/hf_config.h"
#include "engine/hf_json.h"
#include "engine/hf_tokenizer.h"
#include "engine/mapped_file.h"
#include "engine/model_file_checks.h"
#include "engine/model_file_tensor.h"
#include "engine/model_file_utf8.h"
#include "engine/safetensors.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

// Parsed JSON takes many times its text's size.
constexpr size_t kMaxJsonBytes = size_t{128} << 20;

using SharedFile = std::shared_ptr<const MappedFile>;

absl::Status InFile(const std::string& path, const absl::Status& status) {
  return status.ok() ? status
                     : absl::InvalidArgumentError(absl::StrCat(path, ": ", status.message()));
}

absl::StatusOr<SharedFile> OpenText(const std::string& path) {
  ASSIGN_OR_RETURN(SharedFile file, MappedFile::Open(path));
  if (file->bytes().size() > kMaxJsonBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": the file has more than ", kMaxJsonBytes, " bytes; it is damaged"));
  }
  return file;
}

// Null where there is no such file.
absl::StatusOr<SharedFile> OpenTextIfThere(const std::string& path) {
  auto file = OpenText(path);
  if (absl::IsNotFound(file.status())) return SharedFile();
  return file;
}

absl::string_view TextOf(const SharedFile& file) { return file ? file->bytes() : ""; }

class HfModel : public ModelFile {
 public:
  explicit HfModel(std::string folder) : folder_(std::move(folder)) {}

  absl::Status Init() {
    ASSIGN_OR_RETURN(const HfConfig config, ReadConfig());
    RETURN_IF_ERROR(OpenWeights());
    static constexpr absl::string_view kQkvBias[] = {"q_proj.bias", "k_proj.bias", "v_proj.bias"};
    const auto used = config_.qkv_bias ? absl::Span<const absl::string_view>(kQkvBias)
                                       : absl::Span<const absl::string_view>();
    RETURN_IF_ERROR(InFile(folder_, CheckBiases(tensors_, used)));
    RETURN_IF_ERROR(InFile(folder_, CheckWeights(*this)));
    RETURN_IF_ERROR(ReadTokenizer(config));
    ASSIGN_OR_RETURN(fingerprint_, Fingerprint(config_, tensors_));
    return absl::OkStatus();
  }

  const ModelConfig& config() const override { return config_; }
  const TokenizerSpec& tokenizer() const override { return tokenizer_; }
  const std::string& fingerprint() const override { return fingerprint_; }

  absl::StatusOr<WeightSource> Tensor(absl::string_view name) const override {
    const auto it = tensors_.find(name);
    // A tied model may carry a copy of the table under this name; it is not to be used.
    const bool copy = config_.tied_embeddings && name == "lm_head.weight";
    if (it != tensors_.end() && !copy) return MakeWeightSource(name, it->second, 0);
    const auto other = other_.find(name);
    if (other != other_.end()) {
      return absl::InvalidArgumentError(absl::StrCat("tensor ", name, " is of type ", other->second,
                                                     ", but only F32, F16 and BF16 are supported"));
    }
    return absl::NotFoundError(absl::StrCat("tensor ", name, " is not in the model's files"));
  }

 private:
  std::string Path(absl::string_view name) const { return absl::StrCat(folder_, "/", name); }

  absl::StatusOr<HfConfig> ReadConfig() {
    const std::string path = Path("config.json");
    ASSIGN_OR_RETURN(const SharedFile text, OpenText(path));
    ASSIGN_OR_RETURN(const SharedFile generation, OpenTextIfThere(Path("generation_config.json")));
    auto config = ParseHfConfig(TextOf(text), TextOf(generation));
    RETURN_IF_ERROR(InFile(path, config.status()));
    RETURN_IF_ERROR(InFile(path, ValidateConfig(config->model)));
    config_ = config->model;
    if (config_.name.empty()) {
      absl::string_view name = folder_;
      while (absl::EndsWith(name, "/")) name.remove_suffix(1);
      name = name.substr(name.rfind('/') + 1);
      if (IsValidUtf8(name)) config_.name = std::string(name);
    }
    return config;
  }

  absl::Status OpenWeights() {
    const std::string whole = Path("model.safetensors");
    if (auto file = MappedFile::Open(whole); !absl::IsNotFound(file.status())) {
      RETURN_IF_ERROR(file.status());
      ASSIGN_OR_RETURN(SafetensorsFile parsed, ParseShard(whole, *file));
      tensors_ = std::move(parsed.tensors);
      other_ = std::move(parsed.other);
      return absl::OkStatus();
    }
    const std::string index_path = Path("model.safetensors.index.json");
    ASSIGN_OR_RETURN(const SharedFile text, OpenTextIfThere(index_path));
    if (text == nullptr) {
      return absl::NotFoundError(
          absl::StrCat(folder_,
                       ": no model.safetensors and no model.safetensors.index.json; a "
                       "model in another format must be converted to safetensors"));
    }
    const auto index = ParseJson(TextOf(text));
    RETURN_IF_ERROR(InFile(index_path, index.status()));
    return OpenShards(index_path, *index);
  }

  absl::Status OpenShards(const std::string& index_path, const Json& index) {
    const auto wrong = [&](absl::string_view what) {
      return InFile(index_path, absl::InvalidArgumentError(what));
    };
    const Json* map = Member(index, "weight_map");
    if (map == nullptr || !map->is_object()) return wrong("'weight_map' must be an object");
    std::map<std::string, SafetensorsFile> shards;
    for (auto it = map->begin(); it != map->end(); ++it) {
      if (!it.value().is_string()) return wrong("'weight_map' must hold names of files");
      const std::string& name = it.value().get_ref<const std::string&>();
      if (absl::StartsWith(name, ".") || name.find('/') != std::string::npos ||
          name.find('\0') != std::string::npos || !absl::EndsWith(name, ".safetensors")) {
        return wrong(absl::StrCat("'", name, "' is no name of a safetensors file in this folder"));
      }
      auto shard = shards.find(name);
      if (shard == shards.end()) {
        ASSIGN_OR_RETURN(const SharedFile file, MappedFile::Open(Path(name)));
        ASSIGN_OR_RETURN(SafetensorsFile parsed, ParseShard(Path(name), file));
        shard = shards.emplace(name, std::move(parsed)).first;
      }
      const auto tensor = shard->second.tensors.find(it.key());
      const auto other = shard->second.other.find(it.key());
      if (tensor != shard->second.tensors.end()) {
        tensors_.emplace(it.key(), tensor->second);
      } else if (other != shard->second.other.end()) {
        other_.emplace(it.key(), other->second);
      } else {
        return wrong(absl::StrCat("tensor ", it.key(), " is not in ", name,
                                  "; the files do not belong together"));
      }
    }
    return absl::OkStatus();
  }

  absl::StatusOr<SafetensorsFile> ParseShard(const std::string& path, const SharedFile& file) {
    auto parsed = ParseSafetensors(file->bytes());
    RETURN_IF_ERROR(InFile(path, parsed.status()));
    files_.push_back(file);
    return parsed;
  }

  absl::Status ReadTokenizer(const HfConfig& config) {
    const std::string path = Path("tokenizer.json");
    ASSIGN_OR_RETURN(const SharedFile text, OpenText(path));
    ASSIGN_OR_RETURN(const SharedFile settings, OpenTextIfThere(Path("tokenizer_config.json")));
    ASSIGN_OR_RETURN(const SharedFile chat, OpenTextIfThere(Path("chat_template.jinja")));
    auto spec = ParseHfTokenizer({TextOf(text), TextOf(settings), TextOf(chat)}, config);
    RETURN_IF_ERROR(InFile(path, spec.status()));
    tokenizer_ = *std::move(spec);
    return absl::OkStatus();
  }

  std::string folder_;
  std::vector<SharedFile> files_;  // what tensors_ points into
  StoredTensors tensors_;
  absl::flat_hash_map<std::string, std::string> other_;
  ModelConfig config_;
  TokenizerSpec tokenizer_;
  std::string fingerprint_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ModelFile>> OpenHfFolder(const std::string& path) {
  auto model = std::make_unique<HfModel>(path);
  RETURN_IF_ERROR(model->Init());
  return model;
}

}  // namespace skipserve
