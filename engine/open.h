// Opens a model and starts an engine on it: the one entry for servers and command-line tools.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/engine.h"
#include "engine/quality/canary.h"
#include "kernels/ops.h"

namespace skipserve {

struct EngineOptions {
  std::string model_path;         // a .gguf file or a Hugging Face folder
  std::string backend = "cpu";    // "cpu" or "reference"
  std::string dtype = "auto";     // "f32", "bf16", "int8", "int4" or "auto": of weights
  std::string kv_dtype = "auto";  // "f32", "bf16", "int8" or "auto": f32 beside f32, else bf16
  int threads = 0;                // 0: the cores this process may use
  int64_t kv_memory_mb = 0;       // 0: room for four full contexts, at most 40 % of the memory
  int64_t max_context = 0;        // tokens of prompt and answer; 0: the model's
  int32_t max_running = 32;       // sequences that decode or prefill at once
  int32_t max_queue = 256;        // requests that may wait
  int64_t max_queue_tokens = 0;   // their prompts' tokens, all together; 0: no bound
  // New tokens whose KV a request is promised when it is admitted; an answer that becomes longer
  // takes what is free, or gives way and is computed again. 0: all that it may need.
  int64_t promised_tokens = 256;
  int64_t default_max_tokens = 1024;  // new tokens where a request does not say
  int64_t chunk_tokens = 1024;        // prompt tokens computed together, at most
  absl::Duration max_token_gap = absl::Milliseconds(100);  // between two tokens of an answer
  bool prefix_cache = true;                                // prompts that begin alike share that
  std::string prefix_states = "f32";  // "f32" or "bf16": of hidden states behind a trunk
  bool skip_enabled = true;           // false: every request runs dense
  std::string skip_file;              // "": the file beside the model, if there is one
  std::string default_skip_level;  // "": the skip settings' own default; "off": dense unless asked
  int64_t skip_min_prompt = 0;  // shorter prompts run dense in mode auto; 0: the skip settings' own
  CanaryOptions canary;
  EngineObserver* observer = nullptr;  // may be null; outlives the engine
};

absl::StatusOr<std::unique_ptr<Engine>> OpenEngine(const EngineOptions& options);

// On a backend of the caller's; options.backend and options.threads do not matter then.
absl::StatusOr<std::unique_ptr<Engine>> OpenEngine(const EngineOptions& options,
                                                   std::unique_ptr<Ops> ops);

}  // namespace skipserve
