// An error as OpenAI's clients expect it, and how it is made from a Status. Plain values.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "nlohmann/json.hpp"

namespace skipserve {

// Replies keep the order in which their fields were put.
using OrderedJson = nlohmann::ordered_json;

struct ApiError {
  int http_status = 400;
  std::string message;
  std::string type = "invalid_request_error";
  std::string param;  // empty: null
  std::string code;   // empty: null
};

// The caller's mistake in one field: 400.
ApiError BadParam(std::string param, std::string message);

// An error of the engine or of a conversion; `param` where it is known which field caused it.
ApiError ApiErrorFromStatus(const absl::Status& status, std::string param = "");

// One with the given HTTP status and the type that belongs to it.
ApiError ApiErrorFor(int http_status, std::string message);

// {"error": {"message", "type", "param", "code"}}
OrderedJson ErrorJson(const ApiError& error);

// Text of a JSON value; bytes that are not UTF-8 become U+FFFD, so it cannot fail.
std::string DumpJson(const OrderedJson& json);

}  // namespace skipserve
