// The server's log lines through spdlog: events with fields, as text for people or as JSON for
// machines. Holds no state of its own. Thread-safe.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "nlohmann/json.hpp"
#include "spdlog/spdlog.h"

namespace skipserve {

// `level` is trace, debug, info, warn, error or off; `format` is text or json. INVALID_ARGUMENT
// otherwise. Lines go to standard error. Call once, before other threads log.
absl::Status SetUpLogging(const std::string& level, const std::string& format);

// One line of an event's fields; `fields` is an object, its "event" is what happened.
void LogEvent(spdlog::level::level_enum level, const nlohmann::ordered_json& fields);

}  // namespace skipserve
