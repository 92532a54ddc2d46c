#include "server/api_keys.h"

#include <fstream>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/request.h"
#include "engine/sha256.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

absl::StatusOr<std::string> DigestOf(absl::string_view key) {
  Sha256 hash;
  hash.Update(key);
  return hash.HexDigest();
}

}  // namespace

absl::StatusOr<ApiKeys> ApiKeys::Read(const std::string& path) {
  std::ifstream file(path);
  if (!file) {
    return absl::NotFoundError(absl::StrCat("cannot read the API keys in ", path,
                                            ": name another file with --api-keys-file"));
  }
  ApiKeys keys;
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    if (const absl::Status status = keys.Add(line); !status.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ", line ", number, ": ", status.message()));
    }
  }
  if (keys.required()) return keys;
  return absl::InvalidArgumentError(
      absl::StrCat(path, " has no API key, so nobody could ask: write one to a line"));
}

absl::Status ApiKeys::Add(absl::string_view line) {
  const std::vector<std::string> words =
      absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
  if (words.empty() || absl::StartsWith(words[0], "#")) return absl::OkStatus();
  if (words.size() > 3) {
    return absl::InvalidArgumentError("a key, a name and a priority are three words");
  }
  if (words.size() > 1 && words[1].size() > kMaxClient) {
    return absl::InvalidArgumentError(absl::StrCat("a name has at most ", kMaxClient, " bytes"));
  }
  ASSIGN_OR_RETURN(const std::string digest, DigestOf(words[0]));
  const std::string name = words.size() > 1 ? words[1] : absl::StrCat("key-", digest.substr(0, 8));
  if (!clients_.emplace(digest, name).second) {
    return absl::InvalidArgumentError("this key was there before");
  }
  if (words.size() < 3) return absl::OkStatus();
  int32_t& priority = priorities_[name];
  if (!absl::SimpleAtoi(words[2], &priority) || priority < -kMaxPriority ||
      priority > kMaxPriority) {
    return absl::InvalidArgumentError(absl::StrCat("the highest priority is a number from -",
                                                   kMaxPriority, " to ", kMaxPriority));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ApiKeys::Client(absl::string_view authorization) const {
  if (!required()) return std::string();
  constexpr absl::string_view kScheme = "Bearer ";  // in any case: RFC 7235, 2.1
  if (!absl::StartsWithIgnoreCase(authorization, kScheme) ||
      authorization.size() == kScheme.size()) {
    return absl::UnauthenticatedError("an API key is required: send Authorization: Bearer KEY");
  }
  ASSIGN_OR_RETURN(const std::string digest, DigestOf(authorization.substr(kScheme.size())));
  const auto found = clients_.find(digest);
  if (found == clients_.end()) return absl::UnauthenticatedError("this API key is not known");
  return found->second;
}

absl::Status ApiKeys::Claim(const std::string& client, GenerateRequest& request) const {
  if (client.empty()) return absl::OkStatus();
  request.client = request.tenant = client;
  const auto found = priorities_.find(client);
  const int32_t highest = found == priorities_.end() ? 0 : found->second;
  if (request.priority <= highest) return absl::OkStatus();
  return absl::PermissionDeniedError(
      absl::StrCat("priority ", request.priority, " is above this client's highest, ", highest));
}

}  // namespace skipserve
