#include "engine/skip/policy_fingerprint.h"

#include "engine/sha256.h"
#include "nlohmann/json.hpp"

namespace skipserve {

std::string PolicyFingerprint(const SkipPolicy& policy) {
  constexpr size_t kDigits = 16;
  Sha256 sha;
  sha.Update(PolicyToJson(policy).dump());  // keys are sorted
  return sha.HexDigest().value_or("").substr(0, kDigits);
}

}  // namespace skipserve
