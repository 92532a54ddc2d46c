// One table; see the header.
#include "server/status.h"

#include <algorithm>
#include <array>
#include <new>
#include <string>

#include "grpcpp/support/status.h"
#include "server/log.h"

namespace skipserve {
namespace {

struct Row {
  absl::StatusCode code;
  grpc::StatusCode grpc_code;
  int http_code;
  absl::string_view outcome;
};

constexpr std::array<Row, 17> kRows = {{
    {absl::StatusCode::kOk, grpc::StatusCode::OK, 200, "ok"},
    {absl::StatusCode::kCancelled, grpc::StatusCode::CANCELLED, 499, "cancelled"},
    {absl::StatusCode::kUnknown, grpc::StatusCode::UNKNOWN, 500, "error"},
    {absl::StatusCode::kInvalidArgument, grpc::StatusCode::INVALID_ARGUMENT, 400, "invalid"},
    {absl::StatusCode::kDeadlineExceeded, grpc::StatusCode::DEADLINE_EXCEEDED, 504,
     "deadline_exceeded"},
    {absl::StatusCode::kNotFound, grpc::StatusCode::NOT_FOUND, 404, "invalid"},
    {absl::StatusCode::kAlreadyExists, grpc::StatusCode::ALREADY_EXISTS, 409, "invalid"},
    {absl::StatusCode::kPermissionDenied, grpc::StatusCode::PERMISSION_DENIED, 403, "invalid"},
    {absl::StatusCode::kResourceExhausted, grpc::StatusCode::RESOURCE_EXHAUSTED, 429, "rejected"},
    {absl::StatusCode::kFailedPrecondition, grpc::StatusCode::FAILED_PRECONDITION, 400, "invalid"},
    {absl::StatusCode::kAborted, grpc::StatusCode::ABORTED, 409, "error"},
    {absl::StatusCode::kOutOfRange, grpc::StatusCode::OUT_OF_RANGE, 400, "invalid"},
    {absl::StatusCode::kUnimplemented, grpc::StatusCode::UNIMPLEMENTED, 501, "invalid"},
    {absl::StatusCode::kInternal, grpc::StatusCode::INTERNAL, 500, "error"},
    {absl::StatusCode::kUnavailable, grpc::StatusCode::UNAVAILABLE, 503, "unavailable"},
    {absl::StatusCode::kDataLoss, grpc::StatusCode::DATA_LOSS, 500, "error"},
    {absl::StatusCode::kUnauthenticated, grpc::StatusCode::UNAUTHENTICATED, 401, "invalid"},
}};

const Row& RowOf(const absl::Status& status) {
  for (const Row& row : kRows) {
    if (row.code == status.code()) return row;
  }
  return kRows[2];  // kUnknown
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  std::string message(status.message());
  for (char& c : message) {
    // Messages are ours and in ASCII; other bytes can only be echoes of a client's input.
    if (static_cast<unsigned char>(c) >= 0x80) c = '?';
  }
  return grpc::Status(RowOf(status).grpc_code, message);
}

int HttpStatusCode(const absl::Status& status) { return RowOf(status).http_code; }

absl::Status StatusFromHttp(int http_code, absl::string_view message) {
  for (const Row& row : kRows) {
    if (row.http_code == http_code) return absl::Status(row.code, message);
  }
  return http_code < 500 ? absl::InvalidArgumentError(message) : absl::InternalError(message);
}

absl::Status StatusFromException(const std::exception& error, absl::string_view endpoint) {
  LogEvent(
      spdlog::level::err,
      {{"event", "handler_failed"}, {"endpoint", std::string(endpoint)}, {"error", error.what()}});
  if (dynamic_cast<const std::bad_alloc*>(&error) == nullptr) {
    return absl::InternalError("the server failed on this request");
  }
  return absl::ResourceExhaustedError(
      "the server has no memory left for this request; try again later, or with a smaller one");
}

absl::string_view OpenAiErrorType(int http_code) {
  switch (http_code) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    default:
      return http_code >= 500 ? "server_error" : "invalid_request_error";
  }
}

absl::string_view OutcomeLabel(const absl::Status& status) { return RowOf(status).outcome; }

std::string RetrySeconds(absl::Duration expected) {
  const absl::Duration whole = absl::Ceil(expected, absl::Seconds(1));
  return std::to_string(std::clamp<int64_t>(absl::ToInt64Seconds(whole), 1, 60));
}

}  // namespace skipserve
