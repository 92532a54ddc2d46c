// libFuzzer target: any bytes as a safetensors file, and the same bytes as the JSON files beside
// it.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "engine/hf_config.h"
#include "engine/hf_tokenizer.h"
#include "engine/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace skipserve;
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  ParseHfConfig(bytes, bytes).IgnoreError();
  HfConfig config;
  config.model.vocab_size = 320;
  ParseHfTokenizer({bytes, "", ""}, config).IgnoreError();
  const auto file = ParseSafetensors(bytes);
  if (!file.ok()) return 0;
  for (const auto& [name, tensor] : file->tensors) {
    const auto source = MakeWeightSource(name, tensor, 0);
    if (!source.ok()) continue;
    std::vector<float> row(static_cast<size_t>(source->in_features));
    for (int64_t i = 0; i < source->out_features; ++i) source->read(i, 1, row.data());
  }
  return 0;
}
