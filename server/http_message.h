// One HTTP request and one HTTP reply as plain values: what handlers see. Nothing here touches a
// connection.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/http_body_budget.h"
#include "server/openai_error.h"

namespace skipserve {

struct HttpRequest {
  std::string method;  // "GET"
  std::string path;    // without the query, percent-decoded
  std::string content_type;
  std::string authorization;
  std::string client;  // whose key it has; "" where none is required
  std::string body;
  std::unique_ptr<HttpBodyCharge> charge;  // what the body holds of all bodies' memory; may be null
  std::string argument;                    // what the route's "*" stood for
  bool head = false;                       // HEAD: handled as GET, answered without the body
  bool keep_alive = true;
  bool http_1_0 = false;  // knows no chunks

  // Once it is read: an answer may take minutes, and others need the memory.
  void FreeBody();
};

// The body as a JSON object, or what is wrong with it or with its type.
std::optional<ApiError> ReadJson(const HttpRequest& request, nlohmann::json* out);

struct HttpReply {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
};

HttpReply JsonReply(int status, const OrderedJson& json);
HttpReply TextReply(int status, std::string text);

// OpenAI's error object; with Retry-After, in whole seconds, where trying again may help.
HttpReply ErrorReply(const ApiError& error, absl::Duration retry_after = absl::Seconds(1));

// Status line and headers up to and with the empty line. Without a `length` the body comes in
// chunks, or for HTTP/1.0 until the connection closes.
std::string SerializeHead(const HttpReply& reply, std::optional<uint64_t> length, bool keep_alive,
                          bool http_1_0);

// The path of a request target in origin or absolute form, percent-decoded. False where it is
// malformed.
bool PathOfTarget(absl::string_view target, std::string* path);

}  // namespace skipserve
