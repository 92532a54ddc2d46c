// Byte-level BPE: text to token ids and back. Immutable and thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/model_file.h"

namespace skipserve {

// A stretch of text. Special tokens are recognised only where they lie wholly in trusted text.
struct TextPiece {
  std::string text;
  bool trusted = false;
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // INVALID_ARGUMENT where the spec contradicts itself or a pattern does not compile.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Create(TokenizerSpec spec);

  // The pieces are one text: the split into pieces changes nothing but where special tokens may be.
  // Any bytes are accepted. Does not add BOS.
  virtual std::vector<int32_t> Encode(absl::Span<const TextPiece> pieces) const = 0;
  std::vector<int32_t> Encode(absl::string_view text, bool allow_special) const;

  // The bytes of one token; special tokens give their text. Empty for an id outside the vocabulary.
  virtual absl::string_view TokenBytes(int32_t id) const = 0;
  virtual bool IsSpecial(int32_t id) const = 0;
  // -1 where there is no such token.
  virtual int32_t TokenId(absl::string_view text) const = 0;

  virtual int32_t vocab_size() const = 0;
  virtual const TokenizerSpec& spec() const = 0;

  // Bytes of all ids; invalid UTF-8 becomes U+FFFD.
  std::string Decode(absl::Span<const int32_t> ids, bool skip_special) const;
};

// A whole prompt: BOS goes first where the model wants one and the text does not start with it.
std::vector<int32_t> EncodePrompt(const Tokenizer& tokenizer, absl::Span<const TextPiece> pieces);

// Turns a stream of ids into valid UTF-8 without ever giving out half a character. One per
// sequence, one thread.
class StreamDecoder {
 public:
  StreamDecoder(const Tokenizer& tokenizer, bool skip_special)
      : tokenizer_(tokenizer), skip_special_(skip_special) {}
  std::string Push(int32_t id);  // the text that has become certain; may be empty
  std::string Finish();          // what is left; an unfinished character becomes U+FFFD

 private:
  const Tokenizer& tokenizer_;
  bool skip_special_;
  std::string pending_;
};

}  // namespace skipserve
