// Server-sent events: how one event is written. Pure functions; they do not touch a connection.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace skipserve {

// "data: ...\n\n"; a payload of several lines gets one "data:" field a line, as the standard asks.
std::string SseData(absl::string_view payload);

// A line that clients ignore and proxies see as traffic.
std::string SseComment(absl::string_view text);

// What ends an OpenAI stream.
std::string SseDone();

}  // namespace skipserve
