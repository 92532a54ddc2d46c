// The routing table: which handler answers which method and path. Immutable after it is built, so
// any thread may ask.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <optional>
#include <string>
#include <vector>

#include "server/http_context.h"
#include "server/http_exchange.h"
#include "server/http_message.h"

namespace skipserve {

// Answers at once. POST handlers run on a worker thread, others on the connection's.
using PlainHandler = HttpReply (*)(HttpContext& context, const HttpRequest& request);
// Takes its time, streams, and watches the client.
using LongHandler = asio::awaitable<void> (*)(HttpContext& context, HttpExchange& exchange);

struct HttpRoute {
  const char* method;
  const char*
      path;  // a "*" at the end stands for the rest, which may hold slashes but is not empty
  const char* help;
  PlainHandler plain = nullptr;
  LongHandler lengthy = nullptr;
  bool open = false;  // needs no API key
};

// All routes of the server.
const std::vector<HttpRoute>& HttpRoutes();

struct HttpMatch {
  const HttpRoute* route = nullptr;
  std::string argument;  // what "*" stood for
  HttpReply refusal;     // 404, or 405 with Allow; where `route` is null
};
HttpMatch MatchRoute(const std::string& method, const std::string& path);

// Finds the route and lets it answer; whatever happens, the exchange is replied to unless the
// client is gone.
asio::awaitable<void> AnswerRequest(HttpContext& context, HttpExchange& exchange);

// The handlers, by file.
// http_page.cc
HttpReply HandlePage(HttpContext& context, const HttpRequest& request);
// http_info.cc
HttpReply HandleHelp(HttpContext& context, const HttpRequest& request);
HttpReply HandleHealth(HttpContext& context, const HttpRequest& request);
HttpReply HandleReady(HttpContext& context, const HttpRequest& request);
HttpReply HandleLoad(HttpContext& context, const HttpRequest& request);
HttpReply HandleMetrics(HttpContext& context, const HttpRequest& request);
HttpReply HandleModels(HttpContext& context, const HttpRequest& request);
HttpReply HandleModel(HttpContext& context, const HttpRequest& request);
// http_tokenize.cc
HttpReply HandleTokenize(HttpContext& context, const HttpRequest& request);
HttpReply HandleDetokenize(HttpContext& context, const HttpRequest& request);
// http_completions.cc
asio::awaitable<void> HandleChatCompletions(HttpContext& context, HttpExchange& exchange);
asio::awaitable<void> HandleCompletions(HttpContext& context, HttpExchange& exchange);
// http_prefixes.cc
asio::awaitable<void> HandleReadPrefix(HttpContext& context, HttpExchange& exchange);
HttpReply HandlePrefixes(HttpContext& context, const HttpRequest& request);
HttpReply HandlePrefix(HttpContext& context, const HttpRequest& request);
HttpReply HandleDropPrefix(HttpContext& context, const HttpRequest& request);

}  // namespace skipserve
