// The fake engine's text: a tokenizer of single bytes and a fixed chat template.
#include <array>
#include <utility>

#include "tests/support/fake_engine.h"

namespace skipserve {
namespace {

constexpr std::array<absl::string_view, 4> kSpecials = {"<s>", "</s>", "<|im_start|>",
                                                        "<|im_end|>"};

class ByteTokenizer : public Tokenizer {
 public:
  explicit ByteTokenizer(bool add_bos) {
    for (int id = 0; id < kFakeVocab; ++id) {
      spec_.tokens.push_back(id < kFakeBos ? std::string(1, static_cast<char>(id))
                                           : std::string(kSpecials[id - kFakeBos]));
      spec_.kinds.push_back(id < kFakeBos ? TokenizerSpec::TokenKind::kNormal
                                          : TokenizerSpec::TokenKind::kSpecial);
    }
    spec_.add_bos = add_bos;
    spec_.bos_id = kFakeBos;
    spec_.eos_ids = {kFakeEos, kFakeEnd};
  }

  std::vector<int32_t> Encode(absl::Span<const TextPiece> pieces) const override {
    std::vector<int32_t> ids;
    for (const TextPiece& piece : pieces) {
      for (size_t at = 0; at < piece.text.size();) {
        const int32_t special = piece.trusted ? SpecialAt(piece.text, at) : -1;
        ids.push_back(special >= 0 ? special : static_cast<unsigned char>(piece.text[at]));
        at += special >= 0 ? kSpecials[special - kFakeBos].size() : 1;
      }
    }
    return ids;
  }

  absl::string_view TokenBytes(int32_t id) const override {
    if (id < 0 || id >= kFakeVocab) return {};
    return spec_.tokens[id];
  }
  bool IsSpecial(int32_t id) const override { return id >= kFakeBos && id < kFakeVocab; }
  int32_t TokenId(absl::string_view text) const override {
    for (int32_t id = 0; id < kFakeVocab; ++id) {
      if (spec_.tokens[id] == text) return id;
    }
    return -1;
  }
  int32_t vocab_size() const override { return kFakeVocab; }
  const TokenizerSpec& spec() const override { return spec_; }

 private:
  static int32_t SpecialAt(absl::string_view text, size_t at) {
    for (size_t i = 0; i < kSpecials.size(); ++i) {
      if (text.substr(at, kSpecials[i].size()) == kSpecials[i]) {
        return kFakeBos + static_cast<int32_t>(i);
      }
    }
    return -1;
  }

  TokenizerSpec spec_;
};

class FakeChatTemplate : public ChatTemplate {
 public:
  absl::StatusOr<std::vector<TextPiece>> Render(absl::Span<const ChatMessage> messages,
                                                bool add_generation_prompt) const override {
    std::vector<TextPiece> pieces;
    for (const ChatMessage& message : messages) {
      pieces.push_back({"<|im_start|>", true});
      pieces.push_back({message.role + "\n" + message.content, false});
      pieces.push_back({"<|im_end|>\n", true});
    }
    if (add_generation_prompt) pieces.push_back({"<|im_start|>assistant\n", true});
    return pieces;
  }
};

}  // namespace

std::unique_ptr<Tokenizer> MakeByteTokenizer(bool add_bos) {
  return std::make_unique<ByteTokenizer>(add_bos);
}

std::unique_ptr<ChatTemplate> MakeFakeChatTemplate() {
  return std::make_unique<FakeChatTemplate>();
}

}  // namespace skipserve
