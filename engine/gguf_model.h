// A model read from a GGUF file: metadata to ModelConfig and TokenizerSpec, tensors by their
// Hugging Face names. llama files hold the rows of Q and K in interleaved RoPE order; the sources
// give them back half-rotated.
//
// Beyond the names of a Hugging Face model there is "rope_freqs.weight" [1, head_dim / 2] where the
// file has it (Llama 3.1 and later): divisors of the inverse RoPE frequencies, which stand for the
// llama3 scaling that config().rope_scaling then does not mention.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/gguf.h"
#include "engine/model_config.h"
#include "engine/model_file.h"

namespace skipserve {

// `owner` keeps `bytes` alive as long as the model lives; null where the caller does. Errors are
// INVALID_ARGUMENT and begin with `path`.
absl::StatusOr<std::unique_ptr<ModelFile>> OpenGguf(const std::string& path,
                                                    absl::string_view bytes,
                                                    std::shared_ptr<const void> owner);

// The parts, for the loader above and its tests.
absl::StatusOr<ModelConfig> GgufConfig(const GgufFile& file);
absl::StatusOr<TokenizerSpec> GgufTokenizer(const GgufMetadata& metadata, int32_t vocab_size);
// The tensor's name in a GGUF file; empty where the decoder knows no such weight.
std::string GgufTensorName(absl::string_view hugging_face_name);

}  // namespace skipserve
