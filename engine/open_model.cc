#include "engine/open_model.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/machine.h"
#include "engine/skip/ready_settings.h"
#include "engine/status_macros.h"
#include "spdlog/spdlog.h"

namespace skipserve {

absl::StatusOr<Precision> ChoosePrecision(const std::string& dtype, const std::string& kv_dtype) {
  if (dtype == "auto") return ChoosePrecision("bf16", kv_dtype);
  static constexpr Precision kAll[] = {{"f32", WeightType::kF32, DType::kF32, "f32"},
                                       {"bf16", WeightType::kBF16, DType::kBF16, "bf16"},
                                       {"int8", WeightType::kInt8, DType::kBF16, "bf16"},
                                       {"int4", WeightType::kInt4, DType::kBF16, "bf16"}};
  static constexpr std::pair<const char*, DType> kKv[] = {
      {"f32", DType::kF32}, {"bf16", DType::kBF16}, {"int8", DType::kInt8}};
  const auto* const found = std::find_if(std::begin(kAll), std::end(kAll),
                                         [&](const Precision& p) { return dtype == p.name; });
  if (found == std::end(kAll)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--dtype is \"", dtype, "\"; it must be auto, f32, bf16, int8 or int4"));
  }
  if (kv_dtype == "auto") return *found;
  for (const auto& [name, kv] : kKv) {
    if (kv_dtype == name) return Precision{found->name, found->weights, kv, name};
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--kv-dtype is \"", kv_dtype, "\"; it must be auto, f32, bf16 or int8"));
}

absl::StatusOr<std::unique_ptr<Ops>> MakeOps(const std::string& backend, int threads,
                                             const std::string& dtype) {
  if (backend == "reference") return MakeReferenceOps();
  ASSIGN_OR_RETURN(const Precision precision, ChoosePrecision(dtype, "auto"));
  if (backend == "cpu") {
    return MakeCpuOps(threads > 0 ? threads : AvailableCpus(),
                      /*int8_attention=*/precision.weights == WeightType::kInt8);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--backend is \"", backend, "\"; it must be cpu or reference"));
}

absl::StatusOr<SkipFile> LoadSkipFile(const std::string& path, const std::string& model_path,
                                      const ModelFile& model) {
  const std::string file_path = path.empty() ? SkipFilePath(model_path) : path;
  absl::StatusOr<SkipFile> file =
      ReadSkipFile(file_path, model_path, model.config(), model.fingerprint());
  if (file.ok() || !path.empty() || !absl::IsNotFound(file.status())) return file;
  SkipFile ready;
  ready.settings = ReadySettings(model.config());
  if (ready.settings.default_level != "off") {
    spdlog::warn(
        "no skip file {}: levels score FFN rows by attention alone; 'skipserve calibrate' builds "
        "the proxies",
        file_path);
  }
  return ready;
}

std::unique_ptr<ChatTemplate> OpenChatTemplate(const ModelFile& model, const Tokenizer& tokenizer) {
  const TokenizerSpec& spec = model.tokenizer();
  if (spec.chat_template.empty()) return nullptr;
  const auto text = [&](int32_t id) { return std::string(tokenizer.TokenBytes(id)); };
  absl::StatusOr<std::unique_ptr<ChatTemplate>> parsed =
      ChatTemplate::Parse(spec.chat_template, text(spec.bos_id), text(spec.eos_id));
  if (parsed.ok()) return *std::move(parsed);
  spdlog::warn("the model's chat template cannot be used, so chat requests are refused: {}",
               std::string(parsed.status().message()));
  return nullptr;
}

}  // namespace skipserve
