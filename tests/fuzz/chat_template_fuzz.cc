// libFuzzer target: any bytes as a chat template. What parses is rendered, and nothing of a message
// comes out trusted.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "engine/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace skipserve;
  const std::string source(reinterpret_cast<const char*>(data), size);
  const auto chat = ChatTemplate::Parse(source, "<s>", "</s>");
  if (!chat.ok()) return 0;
  // A character that only a message has, unless the template spells it, possibly by an escape.
  constexpr char kMark = '\x02';
  const bool spelled = source.find_first_of("\\\x02") != std::string::npos;
  const std::string text = std::string(" Is \x02 it? \n") + kMark;
  const auto pieces = (*chat)->Render(
      {{"system", text}, {"user", text}, {"assistant", "yes"}, {"user", text}}, true);
  if (!pieces.ok() || spelled) return 0;
  for (const TextPiece& piece : *pieces) {
    if (piece.trusted && piece.text.find(kMark) != std::string::npos) std::abort();
  }
  return 0;
}
