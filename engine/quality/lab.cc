#include "engine/quality/lab.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "engine/open_model.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

constexpr int64_t kChunkTokens = 512;

}  // namespace

Evaluator::Options Lab::evaluator_options() const {
  Evaluator::Options options;
  options.proxy = skip_file.proxy_shape();
  options.stop_ids = tokenizer->spec().eos_ids;
  return options;
}

absl::StatusOr<std::unique_ptr<Lab>> OpenLab(const LabOptions& options) {
  auto lab = std::make_unique<Lab>();
  ASSIGN_OR_RETURN(lab->model, ModelFile::Open(options.model_path));
  if (options.use_skip_file) {
    ASSIGN_OR_RETURN(lab->skip_file,
                     LoadSkipFile(options.skip_file, options.model_path, *lab->model));
  }
  ASSIGN_OR_RETURN(lab->tokenizer, Tokenizer::Create(lab->model->tokenizer()));
  lab->chat = OpenChatTemplate(*lab->model, *lab->tokenizer);
  ASSIGN_OR_RETURN(lab->ops, MakeOps(options.backend, options.threads, options.dtype));
  RETURN_IF_ERROR(lab->ops->CheckHeadDim(lab->config().head_dim));
  ASSIGN_OR_RETURN(lab->precision, ChoosePrecision(options.dtype, options.kv_dtype));
  const int64_t max_tokens = std::min(options.max_tokens, lab->config().max_positions);
  ASSIGN_OR_RETURN(DecoderWeights weights,
                   LoadDecoderWeights(*lab->model, lab->precision.weights, max_tokens, *lab->ops));
  ASSIGN_OR_RETURN(lab->decoder,
                   Decoder::Create(lab->config(), std::move(weights), kChunkTokens, *lab->ops));
  ASSIGN_OR_RETURN(lab->reader,
                   PromptReader::Create(*lab->decoder, lab->skip_file.proxies, lab->precision.kv,
                                        max_tokens, [] { return absl::Now(); }));
  return lab;
}

}  // namespace skipserve
