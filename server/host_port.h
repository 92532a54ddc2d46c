// "host:port" as it stands in an address. A pure function.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace skipserve {

// An IPv6 address goes in brackets, so that its colons are not the port's.
inline std::string HostPort(const std::string& host, uint16_t port) {
  const bool v6 = absl::StrContains(host, ':') && !absl::StartsWith(host, "[");
  return v6 ? absl::StrCat("[", host, "]:", port) : absl::StrCat(host, ":", port);
}

}  // namespace skipserve
