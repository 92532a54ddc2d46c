#include "tests/support/run_model.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <numeric>
#include <random>
#include <utility>

namespace skipserve::testing {
namespace {

constexpr int64_t kBlocks = 4096;

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
    std::abort();
  }
  return *std::move(value);
}

void Must(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::abort();
}

}  // namespace

std::unique_ptr<ModelRunner> ModelRunner::Open(const std::string& path, std::unique_ptr<Ops> ops,
                                               RunOptions options,
                                               const std::vector<LayerProxy>& proxies) {
  auto runner = std::unique_ptr<ModelRunner>(new ModelRunner());
  runner->options_ = options;
  runner->file_ = Must(ModelFile::Open(path));
  runner->ops_ = std::move(ops);
  const ModelConfig& config = runner->file_->config();
  const WeightType type =
      options.weights.value_or(options.dtype == DType::kF32 ? WeightType::kF32 : WeightType::kBF16);
  DecoderWeights weights =
      Must(LoadDecoderWeights(*runner->file_, type, config.max_positions, *runner->ops_));
  runner->decoder_ =
      Must(Decoder::Create(config, std::move(weights), options.max_rows, *runner->ops_));
  Executor::Options executor;
  executor.kv_layout = {options.dtype, options.block_tokens, config.kv_heads, config.head_dim};
  executor.kv_blocks = kBlocks;
  executor.now = [] { return absl::UnixEpoch(); };
  runner->executor_ = Must(Executor::Create(*runner->decoder_, proxies, std::move(executor)));
  return runner;
}

// Every layer gets room for the whole prompt and 64 more tokens; shuffled, a sequence's blocks lie
// anywhere.
SequenceId ModelRunner::Begin(const std::vector<int32_t>& prompt, const SkipPolicy& policy,
                              const SkipPlan& plan) {
  const SequenceId id = next_id_++;
  const int64_t tokens = static_cast<int64_t>(prompt.size());
  Executor::NewSequence sequence;
  sequence.prompt = prompt;
  sequence.policy = policy;
  sequence.plan = plan;
  sequence.record_rows = true;
  Must(executor_->Begin(id, std::move(sequence)));
  const int64_t per_layer = (tokens + 64 + options_.block_tokens - 1) / options_.block_tokens;
  const int32_t layers = file_->config().layers;
  if (next_block_ + per_layer * layers > kBlocks) next_block_ = 0;
  std::vector<BlockId> blocks(per_layer * layers);
  std::iota(blocks.begin(), blocks.end(), next_block_);
  next_block_ += static_cast<BlockId>(blocks.size());
  if (options_.shuffle_blocks) std::shuffle(blocks.begin(), blocks.end(), std::mt19937(7));
  std::vector<BlockTable>& tables = tables_[id];
  for (int32_t layer = 0; layer < layers; ++layer) {
    tables.push_back(
        {{blocks.begin() + layer * per_layer, blocks.begin() + (layer + 1) * per_layer}});
  }
  return id;
}

std::vector<std::vector<float>> ModelRunner::Step(const StepPlan& plan) {
  std::vector<std::vector<float>> logits;
  for (const SequenceLogits& row : Must(executor_->Run(plan, tables_))) {
    logits.emplace_back(row.logits.begin(), row.logits.end());
  }
  return logits;
}

std::vector<float> ModelRunner::Prefill(SequenceId id, const SkipPlan& skip) {
  std::vector<std::vector<float>> logits;
  const int64_t chunk = std::min(options_.chunk_tokens, options_.max_rows);
  for (int64_t begin = 0; begin < skip.prompt_tokens; begin += chunk) {
    StepPlan plan;
    plan.trunks.emplace_back();
    plan.trunks[0].id = id;
    plan.trunks[0].token_begin = begin;
    plan.trunks[0].token_end = std::min(skip.prompt_tokens, begin + chunk);
    TrunkItem& item = plan.trunks[0];
    do {
      item.layer_begin = item.layer_end;
      item.layer_end = std::min(skip.trunk_layers, item.layer_begin + options_.trunk_layers);
      logits = Step(plan);
    } while (item.layer_end < skip.trunk_layers);
  }
  const int32_t layers = file_->config().layers;
  SkipPoint end = {skip.trunk_layers, 0};
  while (end.layer < layers) {
    const SkipPoint begin = end;
    for (int64_t left = options_.slice_rows; left > 0 && end.layer < layers;) {
      const int64_t rest = 2 * skip.layers[end.layer].active - end.row;
      const int64_t step = std::min(left, rest);
      end = step == rest ? SkipPoint{end.layer + 1, 0} : SkipPoint{end.layer, end.row + step};
      left -= step;
    }
    StepPlan plan;
    plan.skips.push_back({id, begin, end});
    logits = Step(plan);
  }
  return logits.at(0);
}

RunResult ModelRunner::Run(const std::vector<int32_t>& prompt, const SkipPolicy* policy,
                           const std::vector<int32_t>& next) {
  const ModelConfig& config = file_->config();
  const int64_t tokens = static_cast<int64_t>(prompt.size());
  if (!policy) return Run(prompt, SkipPolicy(), DensePlan(config, tokens), next);
  return Run(prompt, *policy, MakePlan(*policy, config, tokens), next);
}

RunResult ModelRunner::Run(const std::vector<int32_t>& prompt, const SkipPolicy& policy,
                           const SkipPlan& plan, const std::vector<int32_t>& next) {
  const SequenceId id = Begin(prompt, policy, plan);
  RunResult result;
  result.logits.push_back(Prefill(id, plan));
  for (int32_t token : next) {
    executor_->SetNextToken(id, token);
    StepPlan plan;
    plan.decodes.push_back({id});
    result.logits.push_back(Step(plan).at(0));
  }
  result.rows = executor_->TakeRows(id);
  executor_->Forget(id);
  tables_.erase(id);
  return result;
}

std::vector<std::vector<std::vector<float>>> ModelRunner::RunBatched(
    const std::vector<std::vector<int32_t>>& prompts,
    const std::vector<std::vector<int32_t>>& next) {
  std::vector<SequenceId> ids;
  std::vector<std::vector<std::vector<float>>> logits;
  for (const auto& prompt : prompts) {
    const SkipPlan plan = DensePlan(file_->config(), static_cast<int64_t>(prompt.size()));
    ids.push_back(Begin(prompt, SkipPolicy(), plan));
    logits.push_back({Prefill(ids.back(), plan)});
  }
  for (size_t step = 0; step < next[0].size(); ++step) {
    StepPlan plan;
    for (size_t i = 0; i < ids.size(); ++i) {
      executor_->SetNextToken(ids[i], next[i][step]);
      plan.decodes.push_back({ids[i]});
    }
    std::vector<std::vector<float>> rows = Step(plan);
    for (size_t i = 0; i < ids.size(); ++i) logits[i].push_back(std::move(rows[i]));
  }
  for (SequenceId id : ids) {
    executor_->Forget(id);
    tables_.erase(id);
  }
  return logits;
}

std::vector<int32_t> SomePrompt(int length, int seed) {
  std::vector<int32_t> ids(length);
  uint32_t state = seed;
  for (int32_t& id : ids)
    id = static_cast<int32_t>((state = state * 1664525u + 1013904223u) >> 8) % 300 + 3;
  return ids;
}

double RelativeError(const std::vector<float>& actual, const std::vector<float>& expected) {
  if (actual.size() != expected.size()) return INFINITY;
  double worst = 0, squares = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double difference = std::abs(double(actual[i]) - expected[i]);
    if (!(difference <= worst)) worst = difference;  // NaN too
    squares += double(expected[i]) * expected[i];
  }
  return worst / std::sqrt(squares / expected.size());
}

double Float32Bound(const ModelConfig& config) {
  return 6e-8 * config.layers * config.ffn_width * 4;
}

double LogProb(const std::vector<float>& logits, int32_t id) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float l : logits) sum += std::exp(l - top);
  return logits[id] - top - std::log(sum);
}

double SharedRows(const std::vector<LayerRows>& actual, const std::vector<LayerRows>& expected,
                  size_t prompt_tokens) {
  size_t rows = 0;
  std::vector<int32_t> shared;
  const auto count = [&](const std::vector<int32_t>& a, const std::vector<int32_t>& b) {
    if (b.size() == prompt_tokens) return;
    rows += b.size();
    std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(shared));
  };
  for (size_t layer = 0; layer < expected.size(); ++layer) {
    count(actual.at(layer).attention, expected[layer].attention);
    count(actual.at(layer).ffn, expected[layer].ffn);
  }
  return rows == 0 ? 1 : static_cast<double>(shared.size()) / static_cast<double>(rows);
}

}  // namespace skipserve::testing
