// Reads a GGUF file's bytes front to back. No step goes past the end: a failed read says so and
// leaves the cursor where it was. Little-endian hosts only. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "absl/strings/string_view.h"

namespace skipserve {

class GgufCursor {
 public:
  explicit GgufCursor(absl::string_view bytes) : bytes_(bytes) {}

  size_t position() const { return position_; }
  size_t remaining() const { return bytes_.size() - position_; }

  template <typename T>
  bool Read(T* out) {
    if (remaining() < sizeof(T)) return false;
    std::memcpy(out, bytes_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return true;
  }

  bool ReadBytes(uint64_t count, absl::string_view* out) {
    if (count > remaining()) return false;
    *out = bytes_.substr(position_, count);
    position_ += count;
    return true;
  }

  // A length in 8 bytes, then as many bytes.
  bool ReadString(absl::string_view* out) {
    const size_t start = position_;
    uint64_t length;
    if (Read(&length) && ReadBytes(length, out)) return true;
    position_ = start;
    return false;
  }

 private:
  absl::string_view bytes_;
  size_t position_ = 0;
};

}  // namespace skipserve
