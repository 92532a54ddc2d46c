#include "engine/bpe_alphabet.h"

#include <array>

#include "engine/utf8.h"

namespace skipserve {
namespace {

// Bytes that are printable in Latin-1 stand for themselves; the others get the code points from
// U+0100 on, in order.
bool StandsForItself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Alphabet {
  std::array<uint16_t, 256> char_of_byte;
  std::array<int16_t, 0x144> byte_of_char;

  Alphabet() {
    byte_of_char.fill(-1);
    uint16_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const uint16_t c = StandsForItself(byte) ? static_cast<uint16_t>(byte) : next++;
      char_of_byte[byte] = c;
      byte_of_char[c] = static_cast<int16_t>(byte);
    }
  }
};

const Alphabet& TheAlphabet() {
  static const Alphabet alphabet;
  return alphabet;
}

}  // namespace

uint32_t ByteAlphabetChar(uint8_t byte) { return TheAlphabet().char_of_byte[byte]; }

bool ByteAlphabetDecode(absl::string_view text, std::string* bytes) {
  const Alphabet& alphabet = TheAlphabet();
  bytes->clear();
  for (size_t pos = 0; pos < text.size();) {
    const Utf8Char c = ReadUtf8(text, pos);
    if (!c.valid || c.code_point >= alphabet.byte_of_char.size()) return false;
    const int16_t byte = alphabet.byte_of_char[c.code_point];
    if (byte < 0) return false;
    bytes->push_back(static_cast<char>(byte));
    pos += c.length;
  }
  return true;
}

}  // namespace skipserve
