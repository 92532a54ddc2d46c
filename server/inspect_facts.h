// What a model's files say of it, and what its skip levels would save at several prompt lengths, by
// arithmetic, beside what they were measured to cost. Loads no weights and measures nothing.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "engine/model_config.h"
#include "engine/open.h"
#include "engine/skip/plan.h"
#include "server/openai_error.h"

namespace skipserve {

struct ModelFacts {
  std::string path;
  ModelConfig config;
  std::string fingerprint;
  int64_t parameters = 0;
  int64_t file_bytes = 0;
  std::string dtype, kv_dtype;  // weights and KV would have, under the options given
  int64_t kv_bytes_per_token = 0;

  int32_t vocabulary = 0;  // tokens of the tokenizer
  int32_t special_tokens = 0;
  bool add_bos = false;
  std::string bos;  // its text; "" where there is none
  std::vector<std::string> eos;
  std::string chat_template;  // "yes", "none", or why it cannot be used

  std::string skip_file;        // its path
  std::string skip_file_state;  // "valid", "none", or what is wrong with it
  bool skip_file_valid = false;
  ProxyShape proxy;
  std::string default_level;
  int64_t min_prompt = 0;
  // As they act: without proxies they score FFN rows by attention, and have no figures.
  std::vector<SkipLevelInfo> levels;
};

absl::StatusOr<ModelFacts> ReadModelFacts(const EngineOptions& options);

// Weights of a model of this shape, biases and norms included.
int64_t CountParameters(const ModelConfig& config);

std::string FactsText(const ModelFacts& facts);
OrderedJson FactsJson(const ModelFacts& facts);

}  // namespace skipserve
