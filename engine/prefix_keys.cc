#include "engine/prefix_keys.h"

#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "engine/sha256.h"
#include "engine/status_macros.h"

namespace skipserve {

absl::StatusOr<std::vector<PrefixKey>> PrefixKeys(absl::Span<const int32_t> prompt,
                                                  int32_t trunk_layers,
                                                  absl::Span<const std::string> salts,
                                                  int32_t block_tokens) {
  std::vector<PrefixKey> keys;
  // The length before each salt: none can play another, nor tokens.
  Sha256 first;
  first.Update(absl::StrCat(trunk_layers));
  for (const std::string& salt : salts) first.Update(absl::StrCat(" ", salt.size(), " ", salt));
  ASSIGN_OR_RETURN(std::string before, first.Digest());
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
