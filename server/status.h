// The one mapping from an error's kind to what clients of either front end and the metrics see of
// it. Pure functions.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace grpc {
class Status;
}

namespace skipserve {

// Same code, same message; bytes that are not UTF-8 become '?', since gRPC carries UTF-8 only.
grpc::Status ToGrpcStatus(const absl::Status& status);

// 200 for OK; 400, 404, 429, 499 (the client is gone), 500, 501, 503, 504 and so on.
int HttpStatusCode(const absl::Status& status);

// OpenAI's "type" of an error for any HTTP code of 400 and more.
absl::string_view OpenAiErrorType(int http_code);

// The label "outcome" of metrics and log: "ok", "cancelled", "deadline_exceeded", "invalid",
// "rejected" (no room), "unavailable" (shutting down) or "error".
absl::string_view OutcomeLabel(const absl::Status& status);

}  // namespace skipserve
