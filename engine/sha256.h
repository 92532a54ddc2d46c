// SHA-256 over a stream of bytes (OpenSSL's). One per digest, one thread.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

struct evp_md_ctx_st;

namespace skipserve {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void Update(absl::string_view bytes);
  // 32 bytes. Called once, last. INTERNAL where the library refused any step.
  absl::StatusOr<std::string> Digest();
  absl::StatusOr<std::string> HexDigest();  // likewise, as 64 hex digits

 private:
  evp_md_ctx_st* context_;
  bool ok_;
};

}  // namespace skipserve
