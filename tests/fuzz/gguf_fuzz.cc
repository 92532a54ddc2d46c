// libFuzzer target: any bytes as a GGUF file. What opens is read to the last weight.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "engine/gguf.h"
#include "engine/gguf_model.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace skipserve;
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  OpenGguf("fuzz", bytes, nullptr).IgnoreError();
  const auto file = ParseGguf(bytes);
  if (!file.ok()) return 0;
  for (const auto& [name, tensor] : file->tensors) {
    const auto source = MakeWeightSource(name, tensor, 0);
    if (!source.ok()) continue;
    const auto width = static_cast<size_t>(source->in_features);
    std::vector<float> row(width), scales(width / 32), minima(width / 32);
    std::vector<uint8_t> codes(width);
    for (int64_t i = 0; i < source->out_features; ++i) {
      source->read(i, 1, row.data());
      if (!source->read_four_bits) continue;
      source->read_four_bits(i, 1, {codes.data(), scales.data(), minima.data()});
    }
  }
  return 0;
}
