#include "engine/open.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/describe_levels.h"
#include "engine/llm_engine.h"
#include "engine/machine.h"
#include "engine/open_model.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

constexpr int32_t kBlockTokens = 32;
constexpr int64_t kFullContexts = 4;      // the default KV pool holds so many
constexpr double kKvShareOfMemory = 0.4;  // but takes at most this much

constexpr int32_t kMaxPrefilling = 8;  // each holds its prompt's hidden states
// Of the time between two tokens that a step is planned for: what is learnt of a step's cost is its
// mean. Of a bound of 100 ms the 99th percentile is 101 to 115 here, 103 to 119 at .93.
constexpr double kShareOfGap = 0.92;

// Seconds per unit of work before any step has run: a middling server's core or two. The cost model
// learns the machine's own within some dozen steps.
Work FirstGuess(const ModelConfig& config, const Precision& precision, const KvLayout& layout) {
  const double kv_bytes = static_cast<double>(layout.token_bytes());
  const double value_bytes = precision.weights == WeightType::kF32    ? 4
                             : precision.weights == WeightType::kBF16 ? 2
                             : precision.weights == WeightType::kInt8 ? 1
                                                                      : 0.625;
  const double layer_bytes = value_bytes * config.width *
                             (2.0 * config.heads * config.head_dim +
                              2.0 * config.kv_heads * config.head_dim + 3.0 * config.ffn_width);
  const double weight_bytes =
      config.layers * layer_bytes + value_bytes * config.width * config.vocab_size;
  Work cost;
  cost[WorkKind::kMatMul] = 1 / 2e11;
  cost[WorkKind::kAttention] = 1 / 1e11;
  cost[WorkKind::kKeys] = kv_bytes / 5e9;
  cost[WorkKind::kProbe] = 1 / 1e11;
  cost[WorkKind::kLayer] = 50e-6;
  cost[WorkKind::kDecodePass] = weight_bytes / 1e10;
  cost[WorkKind::kDecodeRow] = 0.1 * weight_bytes / 1e10;
  cost[WorkKind::kDecodeKv] = kv_bytes / 5e9;
  return cost;
}

int64_t BlocksOfContext(int32_t layers, int64_t max_context) {
  return layers * ((max_context + kBlockTokens - 1) / kBlockTokens);
}

// Blocks in a pool of the given size, or of the default one.
absl::StatusOr<int64_t> KvBlocks(const EngineOptions& options, const KvLayout& layout,
                                 int32_t layers, int64_t max_context) {
  const int64_t block_bytes = static_cast<int64_t>(layout.block_bytes());
  const int64_t per_context = BlocksOfContext(layers, max_context);
  int64_t blocks = options.kv_memory_mb * (int64_t{1} << 20) / block_bytes;
  if (options.kv_memory_mb == 0) {
    const double most = kKvShareOfMemory * static_cast<double>(AvailableMemory());
    blocks = std::min(kFullContexts * per_context,
                      static_cast<int64_t>(most / static_cast<double>(block_bytes)));
  }
  if (blocks >= per_context) return blocks;
  return absl::InvalidArgumentError(absl::StrCat(
      "the KV memory of ", (blocks * block_bytes) >> 20, " MB cannot hold one context of ",
      max_context, " tokens, which takes ", ((per_context * block_bytes) >> 20) + 1,
      " MB: raise --kv-memory-mb or lower --max-context"));
}

absl::Status CheckOptions(const EngineOptions& o) {
  const auto positive = [](const char* flag, int64_t value, int64_t low) {
    return value >= low ? absl::OkStatus()
                        : absl::InvalidArgumentError(
                              absl::StrCat(flag, " is ", value, "; it must be at least ", low));
  };
  RETURN_IF_ERROR(positive("--threads", o.threads, 0));
  RETURN_IF_ERROR(positive("--kv-memory-mb", o.kv_memory_mb, 0));
  RETURN_IF_ERROR(positive("--max-context", o.max_context, 0));
  RETURN_IF_ERROR(positive("--max-running", o.max_running, 1));
  RETURN_IF_ERROR(positive("--max-queue", o.max_queue, 1));
  RETURN_IF_ERROR(positive("--max-queue-tokens", o.max_queue_tokens, 0));
  RETURN_IF_ERROR(positive("--promised-tokens", o.promised_tokens, 0));
  RETURN_IF_ERROR(positive("--default-max-tokens", o.default_max_tokens, 1));
  RETURN_IF_ERROR(positive("--chunk-tokens", o.chunk_tokens, 32));
  RETURN_IF_ERROR(positive("--skip-min-prompt", o.skip_min_prompt, 0));
  if (o.max_token_gap < absl::Milliseconds(1)) {
    return absl::InvalidArgumentError("--max-token-gap must be at least 0.001 seconds");
  }
  if (o.prefix_states != "f32" && o.prefix_states != "bf16") {
    return absl::InvalidArgumentError(
        absl::StrCat("--prefix-states is \"", o.prefix_states, "\"; it may be f32 or bf16"));
  }
  if (!(o.canary.rate >= 0 && o.canary.rate <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--canary is ", o.canary.rate, "; it must be from 0 to 1"));
  }
  if (!(o.canary.guard.max_kl >= 0) || o.canary.guard.hold < absl::ZeroDuration()) {
    return absl::InvalidArgumentError("--canary-max-kl and --canary-hold must not be negative");
  }
  if (o.max_running > Ops::kMaxDecodeRows) {
    return absl::InvalidArgumentError(absl::StrCat("--max-running is ", o.max_running,
                                                   "; it may be up to ", Ops::kMaxDecodeRows));
  }
  return absl::OkStatus();
}

absl::Status ApplySkipFlags(const EngineOptions& options, SkipSettings& settings) {
  if (!options.default_skip_level.empty()) {
    if (options.default_skip_level != "off" && !settings.Find(options.default_skip_level)) {
      return absl::InvalidArgumentError(absl::StrCat("--default-skip-level is \"",
                                                     options.default_skip_level,
                                                     "\", which this model does not have"));
    }
    settings.default_level = options.default_skip_level;
  }
  if (options.skip_min_prompt > 0) settings.min_prompt = options.skip_min_prompt;
  return absl::OkStatus();
}

ModelInfo MakeInfo(const EngineOptions& options, const ModelFile& model, const Precision& precision,
                   const KvLayout& kv_layout, const Ops& ops, const SkipLevels& levels,
                   int64_t max_context) {
  const SkipSettings& settings = levels.settings();
  ModelInfo info;
  info.config = model.config();
  info.fingerprint = model.fingerprint();
  info.dtype = precision.name;
  info.kv_dtype = precision.kv_name;
  info.kv_token_bytes = static_cast<int64_t>(kv_layout.token_bytes());
  info.backend = ops.name();
  info.max_context = max_context;
  info.default_max_tokens = options.default_max_tokens;
  info.skip_min_prompt = settings.min_prompt;
  info.default_skip_level = options.skip_enabled ? settings.default_level : "off";
  info.skip_levels = DescribeLevels(levels, model.config(), max_context);
  return info;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> OpenEngine(const EngineOptions& options) {
  RETURN_IF_ERROR(CheckOptions(options));
  ASSIGN_OR_RETURN(std::unique_ptr<Ops> ops,
                   MakeOps(options.backend, options.threads, options.dtype));
  return OpenEngine(options, std::move(ops));
}

absl::StatusOr<std::unique_ptr<Engine>> OpenEngine(const EngineOptions& options,
                                                   std::unique_ptr<Ops> ops) {
  RETURN_IF_ERROR(CheckOptions(options));
  ASSIGN_OR_RETURN(std::unique_ptr<ModelFile> model, ModelFile::Open(options.model_path));
  ASSIGN_OR_RETURN(SkipFile skip_file, LoadSkipFile(options.skip_file, options.model_path, *model));
  RETURN_IF_ERROR(ApplySkipFlags(options, skip_file.settings));
  const ModelConfig& config = model->config();
  const int64_t max_context = options.max_context > 0
                                  ? std::min(options.max_context, config.max_positions)
                                  : config.max_positions;

  EngineParts parts;
  ASSIGN_OR_RETURN(parts.tokenizer, Tokenizer::Create(model->tokenizer()));
  parts.chat_template = OpenChatTemplate(*model, *parts.tokenizer);
  parts.ops = std::move(ops);
  RETURN_IF_ERROR(parts.ops->CheckHeadDim(config.head_dim));
  ASSIGN_OR_RETURN(const Precision precision, ChoosePrecision(options.dtype, options.kv_dtype));
  const KvLayout kv_layout = {precision.kv, kBlockTokens, config.kv_heads, config.head_dim};
  // Before anything is loaded: what does not fit is refused at once.
  ASSIGN_OR_RETURN(const int64_t kv_blocks,
                   KvBlocks(options, kv_layout, config.layers, max_context));
  ASSIGN_OR_RETURN(DecoderWeights weights,
                   LoadDecoderWeights(*model, precision.weights, max_context, *parts.ops));
  const int64_t max_rows = std::max<int64_t>(options.chunk_tokens, options.max_running);
  ASSIGN_OR_RETURN(parts.decoder,
                   Decoder::Create(config, std::move(weights), max_rows, *parts.ops));

  Executor::Options executor;
  executor.max_sequences = options.max_running;
  executor.kv_layout = kv_layout;
  executor.kv_blocks = kv_blocks;
  executor.state_dtype = options.prefix_states == "bf16" ? DType::kBF16 : DType::kF32;
  executor.now = parts.now;
  parts.scheduler.num_blocks = kv_blocks;
  parts.scheduler.block_tokens = kBlockTokens;
  parts.scheduler.layers = config.layers;
  parts.scheduler.max_running = options.max_running;
  parts.scheduler.max_queue = options.max_queue;
  if (options.max_queue_tokens > 0) parts.scheduler.max_queue_tokens = options.max_queue_tokens;
  if (options.promised_tokens > 0) parts.scheduler.promised_new_tokens = options.promised_tokens;
  // One full context finds room whatever is pinned.
  parts.scheduler.max_pinned_blocks =
      std::max<int64_t>(0, kv_blocks - BlocksOfContext(config.layers, max_context));
  parts.scheduler.max_prefilling = std::min(kMaxPrefilling, options.max_running);
  parts.scheduler.chunk_tokens = options.chunk_tokens;
  parts.scheduler.busy_step_seconds = kShareOfGap * absl::ToDoubleSeconds(options.max_token_gap);
  parts.scheduler.state_blocks = StateBlocks(kv_layout, config.width, executor.state_dtype);
  parts.scheduler.cost = FirstGuess(config, precision, kv_layout);
  parts.prefix_cache = options.prefix_cache;
  ASSIGN_OR_RETURN(parts.executor,
                   Executor::Create(*parts.decoder, skip_file.proxies, std::move(executor)));

  parts.levels = std::make_unique<SkipLevels>(config, skip_file.settings, skip_file.proxy_shape(),
                                              options.skip_enabled);
  parts.info =
      MakeInfo(options, *model, precision, kv_layout, *parts.ops, *parts.levels, max_context);
  parts.canary = options.canary;
  parts.observer = options.observer;
  return std::make_unique<LlmEngine>(std::move(parts));
}

}  // namespace skipserve
