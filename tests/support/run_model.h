// Runs a model below the engine, step by step, as a test wants it: chunk sizes, slices and block
// order are its choice.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/decoder.h"
#include "engine/executor.h"
#include "engine/model_file.h"
#include "engine/skip/plan.h"
#include "engine/skip/proxy.h"

namespace skipserve::testing {

struct RunOptions {
  int64_t chunk_tokens = 1 << 20;         // trunk chunk
  int64_t slice_rows = int64_t{1} << 40;  // of skipping layers in one slice, each counted twice
  int32_t trunk_layers = 1 << 20;         // layers in one slice of a chunk
  bool shuffle_blocks = false;
  int32_t block_tokens = 16;
  DType dtype = DType::kF32;          // of KV, and of weights, which are bf16 beside KV in 8 bits
  std::optional<WeightType> weights;  // unless these are to be of another type
  int64_t max_rows = 512;
};

struct RunResult {
  std::vector<std::vector<float>> logits;  // after the prompt, then after every fed token
  std::vector<LayerRows> rows;             // by layer
};

// A model with its own executor; sequences run one after the other or, with Decode, together.
class ModelRunner {
 public:
  static std::unique_ptr<ModelRunner> Open(const std::string& path, std::unique_ptr<Ops> ops,
                                           RunOptions options,
                                           const std::vector<LayerProxy>& proxies = {});

  // Prefills `prompt`, then feeds `next` token by token. Without `policy`, dense.
  RunResult Run(const std::vector<int32_t>& prompt, const SkipPolicy* policy,
                const std::vector<int32_t>& next);
  // The same with a plan that no policy makes.
  RunResult Run(const std::vector<int32_t>& prompt, const SkipPolicy& policy, const SkipPlan& plan,
                const std::vector<int32_t>& next);

  // Prefills all prompts, then decodes them together, one token each a step: logits[prompt][step].
  std::vector<std::vector<std::vector<float>>> RunBatched(
      const std::vector<std::vector<int32_t>>& prompts,
      const std::vector<std::vector<int32_t>>& next);

  const ModelFile& file() const { return *file_; }
  Decoder& decoder() { return *decoder_; }
  Ops& ops() { return *ops_; }

 private:
  ModelRunner() = default;
  SequenceId Begin(const std::vector<int32_t>& prompt, const SkipPolicy& policy,
                   const SkipPlan& plan);
  std::vector<float> Prefill(SequenceId id, const SkipPlan& plan);
  std::vector<std::vector<float>> Step(const StepPlan& plan);

  RunOptions options_;
  std::unique_ptr<ModelFile> file_;
  std::unique_ptr<Ops> ops_;
  std::unique_ptr<Decoder> decoder_;
  std::unique_ptr<Executor> executor_;
  TablesById tables_;
  SequenceId next_id_ = 1;
  BlockId next_block_ = 0;
};

// Ids of the tiny models' vocabulary, none of them special.
std::vector<int32_t> SomePrompt(int length, int seed = 1);

// The largest difference of two logits, in units of the expected ones' root mean square.
double RelativeError(const std::vector<float>& actual, const std::vector<float>& expected);

// How far it may be off in float32, whatever the order of the sums: rounding grows with depth and
// inner length.
double Float32Bound(const ModelConfig& config);

double LogProb(const std::vector<float>& logits, int32_t id);

// The share of the expected active rows, attention's and the FFN's together, that are active in the
// other run too. Only layers that skip some of the prompt's tokens count; without any, 1.
double SharedRows(const std::vector<LayerRows>& actual, const std::vector<LayerRows>& expected,
                  size_t prompt_tokens);

}  // namespace skipserve::testing
