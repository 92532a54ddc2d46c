#include "engine/sha256.h"

#include <openssl/evp.h>

#include "absl/strings/escaping.h"
#include "engine/status_macros.h"

namespace skipserve {

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  ok_ = context_ != nullptr && EVP_DigestInit_ex(context_, EVP_sha256(), nullptr) == 1;
}

Sha256::~Sha256() { EVP_MD_CTX_free(context_); }

void Sha256::Update(absl::string_view bytes) {
  ok_ = ok_ && EVP_DigestUpdate(context_, bytes.data(), bytes.size()) == 1;
}

absl::StatusOr<std::string> Sha256::Digest() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  ok_ = ok_ && EVP_DigestFinal_ex(context_, digest, &size) == 1;
  if (!ok_) return absl::InternalError("the SHA-256 of the crypto library does not work");
  return std::string(reinterpret_cast<const char*>(digest), size);
}

absl::StatusOr<std::string> Sha256::HexDigest() {
  ASSIGN_OR_RETURN(const std::string digest, Digest());
  return absl::BytesToHexString(digest);
}

}  // namespace skipserve
