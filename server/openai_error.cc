#include "server/openai_error.h"

#include <utility>

#include "server/prompt.h"
#include "server/status.h"

namespace skipserve {
namespace {

// OpenAI's "code" where it has one for the whole HTTP status.
const char* ErrorCodeName(int http_status) {
  switch (http_status) {
    case 429:
      return "rate_limit_exceeded";
    case 503:
      return "unavailable";
    case 504:
      return "deadline_exceeded";
    default:
      return "";
  }
}

}  // namespace

ApiError BadParam(std::string param, std::string message) {
  ApiError error;
  error.param = std::move(param);
  error.message = std::move(message);
  return error;
}

ApiError ApiErrorFor(int http_status, std::string message) {
  ApiError error;
  error.http_status = http_status;
  error.message = std::move(message);
  error.type = std::string(OpenAiErrorType(http_status));
  error.code = ErrorCodeName(http_status);
  return error;
}

ApiError ApiErrorFromStatus(const absl::Status& status, std::string param) {
  ApiError error = ApiErrorFor(HttpStatusCode(status), std::string(status.message()));
  error.param = std::move(param);
  if (IsTooLong(status)) error.code = "context_length_exceeded";
  return error;
}

OrderedJson ErrorJson(const ApiError& error) {
  const auto text_or_null = [](const std::string& text) {
    return text.empty() ? OrderedJson(nullptr) : OrderedJson(text);
  };
  return {{"error",
           {{"message", error.message},
            {"type", error.type},
            {"param", text_or_null(error.param)},
            {"code", text_or_null(error.code)}}}};
}

std::string DumpJson(const OrderedJson& json) {
  return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

}  // namespace skipserve
