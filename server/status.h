// The one mapping from an error's kind to what clients of either front end and the metrics see of
// it, and of what is thrown. Pure functions, but for the log line of an exception.
#pragma once

#include <exception>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace grpc {
class Status;
}

namespace skipserve {

// Same code, same message; bytes that are not UTF-8 become '?', since gRPC carries UTF-8 only.
grpc::Status ToGrpcStatus(const absl::Status& status);

// 200 for OK; 400, 404, 429, 499 (the client is gone), 500, 501, 503, 504 and so on.
int HttpStatusCode(const absl::Status& status);

// The other way round, for an HTTP error that the table has no row for too: the client's below 500.
absl::Status StatusFromHttp(int http_code, absl::string_view message);

// What ends a call whose handler has thrown: RESOURCE_EXHAUSTED where memory ran out, else
// INTERNAL. Writes what was thrown to the log; the client is not told.
absl::Status StatusFromException(const std::exception& error, absl::string_view endpoint);

// OpenAI's "type" of an error for any HTTP code of 400 and more.
absl::string_view OpenAiErrorType(int http_code);

// The label "outcome" of metrics and log: "ok", "cancelled", "deadline_exceeded", "invalid",
// "rejected" (no room), "unavailable" (shutting down) or "error".
absl::string_view OutcomeLabel(const absl::Status& status);

// How long a client should wait before it tries again, from what the engine expects: whole seconds
// from 1 to 60.
std::string RetrySeconds(absl::Duration expected);

}  // namespace skipserve
