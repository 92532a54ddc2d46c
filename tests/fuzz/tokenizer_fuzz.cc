// libFuzzer target: any bytes as a tokenizer.json. What opens encodes and decodes text, and
// untrusted text never becomes a special token.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "absl/strings/string_view.h"
#include "engine/hf_tokenizer.h"
#include "engine/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace skipserve;
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  HfConfig config;
  config.model.vocab_size = 320;
  auto spec = ParseHfTokenizer({bytes, "", ""}, config);
  if (!spec.ok()) return 0;
  const auto tokenizer = Tokenizer::Create(*std::move(spec));
  if (!tokenizer.ok()) return 0;
  for (const absl::string_view text :
       {absl::string_view("It's 1984: <|im_start|> na\xc3\xafve\r\n\n  \xf0\x9f\x99\x82\xff"),
        bytes.substr(0, 200)}) {
    for (const bool trusted : {false, true}) {
      const std::vector<int32_t> ids = (*tokenizer)->Encode(text, trusted);
      (*tokenizer)->Decode(ids, /*skip_special=*/true);
      for (const int32_t id : ids) {
        if (!trusted && (*tokenizer)->IsSpecial(id)) std::abort();
      }
    }
  }
  return 0;
}
