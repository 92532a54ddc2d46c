// A model opened for measuring: everything between a file and an Evaluator, without a server's
// queue and step thread. One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/chat_template.h"
#include "engine/decoder.h"
#include "engine/model_file.h"
#include "engine/open_model.h"
#include "engine/quality/evaluator.h"
#include "engine/quality/prompt_reader.h"
#include "engine/skip/skip_file.h"
#include "engine/tokenizer.h"

namespace skipserve {

struct LabOptions {
  std::string model_path;
  std::string backend = "cpu";
  std::string dtype = "auto";
  std::string kv_dtype = "auto";
  std::string skip_file;      // "": the file beside the model, if there is one
  bool use_skip_file = true;  // false: no levels and no proxies
  int threads = 0;            // 0: the cores this process may use
  int64_t max_tokens = 8192;  // of a prompt and its answer, or the model's context if that is less
};

// Members are in the order of their making: each may use those before it.
struct Lab {
  std::unique_ptr<ModelFile> model;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<ChatTemplate> chat;  // may be null
  SkipFile skip_file;                  // settings and proxies
  std::unique_ptr<Ops> ops;
  std::unique_ptr<Decoder> decoder;
  std::unique_ptr<PromptReader> reader;
  Precision precision = {};

  const ModelConfig& config() const { return model->config(); }
  Evaluator::Options evaluator_options() const;
};

// As OpenEngine fails.
absl::StatusOr<std::unique_ptr<Lab>> OpenLab(const LabOptions& options);

}  // namespace skipserve
