#include "server/token_texts.h"

namespace skipserve {

std::vector<std::string> TokenTexts(const Tokenizer& tokenizer, absl::Span<const int32_t> ids) {
  std::vector<std::string> texts;
  StreamDecoder decoder(tokenizer, /*skip_special=*/false);
  for (const int32_t id : ids) texts.push_back(decoder.Push(id));
  if (!texts.empty()) texts.back() += decoder.Finish();
  return texts;
}

std::vector<int64_t> SpecialPositions(const Tokenizer& tokenizer, absl::Span<const int32_t> ids) {
  std::vector<int64_t> positions;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (tokenizer.IsSpecial(ids[i])) positions.push_back(static_cast<int64_t>(i));
  }
  return positions;
}

}  // namespace skipserve
