// Who may ask, and who asks: the keys of a file, each with a client's name. Immutable, thread-safe.
#pragma once

#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/request.h"

namespace skipserve {

class ApiKeys {
 public:
  ApiKeys() = default;  // everybody may ask

  // A line for each key: the key, then the client's name, which several keys may share, then the
  // highest priority that the client may ask for (the last line with one counts; else 0). Without a
  // name the key is a client of its own. Empty lines and lines that begin with # say nothing.
  // NOT_FOUND, or INVALID_ARGUMENT naming the line.
  static absl::StatusOr<ApiKeys> Read(const std::string& path);

  bool required() const { return !clients_.empty(); }

  // The client's name, from an Authorization header ("Bearer KEY"). UNAUTHENTICATED where a key is
  // required and this is none; "" where none is required.
  absl::StatusOr<std::string> Client(absl::string_view authorization) const;

  // Makes it the client's request, whatever it says itself; one without a name ("") stays as it is.
  // PERMISSION_DENIED where it asks for a higher priority than the client may.
  absl::Status Claim(const std::string& client, GenerateRequest& request) const;

 private:
  absl::Status Add(absl::string_view line);

  absl::flat_hash_map<std::string, int32_t> priorities_;   // by the client's name
  absl::flat_hash_map<std::string, std::string> clients_;  // by the key's digest: no key is kept
};

}  // namespace skipserve
