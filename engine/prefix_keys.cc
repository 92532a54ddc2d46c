#include "engine/prefix_keys.h"

#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "engine/sha256.h"
#include "engine/status_macros.h"

namespace skipserve {

absl::StatusOr<std::vector<PrefixKey>> PrefixKeys(absl::Span<const int32_t> prompt,
                                                  int32_t trunk_layers, absl::string_view salt,
                                                  int32_t block_tokens) {
  std::vector<PrefixKey> keys;
  // The length before the salt: no salt can play another's tokens.
  std::string before = absl::StrCat(trunk_layers, " ", salt.size(), " ", salt);
  const size_t block = static_cast<size_t>(block_tokens);
  for (size_t begin = 0; begin + block <= prompt.size(); begin += block) {
    Sha256 hash;
    hash.Update(before);
    hash.Update({reinterpret_cast<const char*>(prompt.data() + begin), block * sizeof(int32_t)});
    ASSIGN_OR_RETURN(before, hash.Digest());
    PrefixKey key;
    std::memcpy(&key, before.data(), sizeof(key));
    keys.push_back(key);
  }
  return keys;
}

}  // namespace skipserve
