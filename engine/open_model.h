// The steps of opening a model that serving, calibrating and measuring share.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/chat_template.h"
#include "engine/model_file.h"
#include "engine/skip/skip_file.h"
#include "engine/tokenizer.h"
#include "kernels/ops.h"

namespace skipserve {

// What --dtype and --kv-dtype stand for.
struct Precision {
  const char* name;  // of weights: "f32", "bf16", "int8" or "int4"
  WeightType weights;
  DType kv;
  const char* kv_name;  // "f32", "bf16" or "int8"
};

// Weights: "f32", "bf16", "int8" or "int4", or "auto": bf16. KV: "f32", "bf16" or "int8", or
// "auto": f32 beside weights in f32, else bf16. INVALID_ARGUMENT names the flag.
absl::StatusOr<Precision> ChoosePrecision(const std::string& dtype, const std::string& kv_dtype);

// "cpu" on `threads` threads (0: the cores this process may use), or "reference"; beside weights in
// 8 bits prompts' attention may compute in 8 bits too. INVALID_ARGUMENT names --backend.
absl::StatusOr<std::unique_ptr<Ops>> MakeOps(const std::string& backend, int threads,
                                             const std::string& dtype);

// The skip file at `path`; with "" the one beside the model, or, where there is none, the ready
// settings of the model without proxies.
absl::StatusOr<SkipFile> LoadSkipFile(const std::string& path, const std::string& model_path,
                                      const ModelFile& model);

// Null where the model has no template, or one that cannot be used, which is logged.
std::unique_ptr<ChatTemplate> OpenChatTemplate(const ModelFile& model, const Tokenizer& tokenizer);

}  // namespace skipserve
