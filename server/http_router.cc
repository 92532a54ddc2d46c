#include "server/http_router.h"

#include <exception>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "server/http_work.h"
#include "server/status.h"

namespace skipserve {
namespace {

bool PathMatches(absl::string_view pattern, absl::string_view path, std::string* argument) {
  if (pattern.empty() || pattern.back() != '*') return pattern == path;
  pattern.remove_suffix(1);
  if (!absl::StartsWith(path, pattern) || path.size() == pattern.size()) return false;
  *argument = std::string(path.substr(pattern.size()));
  return true;
}

asio::awaitable<void> Dispatch(HttpContext& context, HttpExchange& exchange) {
  HttpRequest& request = exchange.request();
  HttpMatch match = MatchRoute(request.method, request.path);
  if (match.route == nullptr) {
    co_await exchange.Reply(std::move(match.refusal));
    co_return;
  }
  request.argument = std::move(match.argument);
  const HttpRoute& route = *match.route;
  if (!route.open) {
    absl::StatusOr<std::string> client = context.options.api_keys.Client(request.authorization);
    if (!client.ok()) {
      co_await exchange.Reply(ErrorReply(ApiErrorFromStatus(client.status())));
      co_return;
    }
    request.client = *std::move(client);
  }
  if (route.lengthy != nullptr) {
    co_await route.lengthy(context, exchange);
  } else if (request.method == "POST") {
    HttpReply reply = co_await RunOn(
        context.workers, [&context, &request, &route] { return route.plain(context, request); });
    request.FreeBody();
    co_await exchange.Reply(std::move(reply));
  } else {
    co_await exchange.Reply(route.plain(context, request));
  }
}

}  // namespace

const std::vector<HttpRoute>& HttpRoutes() {
  static const auto* const routes = new std::vector<HttpRoute>{
      {"GET", "/", "a page for people, to ask and to see what was skipped", HandlePage, nullptr,
       true},
      {"GET", "/help", "this list", HandleHelp, nullptr, true},
      {"POST", "/v1/chat/completions", "answer a chat; OpenAI's API", nullptr,
       HandleChatCompletions},
      {"POST", "/v1/completions", "continue a text; OpenAI's API", nullptr, HandleCompletions},
      {"POST", "/v1/prefixes", "read a document before its questions, and keep it", nullptr,
       HandleReadPrefix},
      {"GET", "/v1/prefixes", "the documents kept", HandlePrefixes},
      {"GET", "/v1/prefixes/*", "one of them by name", HandlePrefix},
      {"DELETE", "/v1/prefixes/*", "let go of one", HandleDropPrefix},
      {"GET", "/v1/models", "the model served, its limits and skip levels", HandleModels},
      {"GET", "/v1/models/*", "the same by name", HandleModel},
      {"POST", "/tokenize", "{\"text\" or \"messages\"} to token ids", HandleTokenize},
      {"POST", "/detokenize", "{\"tokens\"} to text", HandleDetokenize},
      {"GET", "/health", "200 while the process lives", HandleHealth, nullptr, true},
      {"GET", "/ready", "200 while requests are taken, with the levels that fell back; else 503",
       HandleReady, nullptr, true},
      {"GET", "/load", "queue, running requests and KV memory", HandleLoad},
      {"GET", "/metrics", "figures for Prometheus", HandleMetrics, nullptr, true},
  };
  return *routes;
}

HttpMatch MatchRoute(const std::string& method, const std::string& path) {
  HttpMatch match;
  std::vector<std::string> allowed;
  for (const HttpRoute& route : HttpRoutes()) {
    if (!PathMatches(route.path, path, &match.argument)) continue;
    if (method == route.method) {
      match.route = &route;
      return match;
    }
    allowed.emplace_back(route.method);
    if (allowed.back() == "GET") allowed.emplace_back("HEAD");
  }
  if (allowed.empty()) {
    match.refusal = ErrorReply(ApiErrorFor(
        404, absl::StrCat("There is no ", path.substr(0, 200), " here; see GET /help.")));
  } else {
    const std::string allow = absl::StrJoin(allowed, ", ");
    match.refusal = ErrorReply(ApiErrorFor(405, "This path allows " + allow + " only."));
    match.refusal.headers.emplace_back("Allow", allow);
  }
  return match;
}

asio::awaitable<void> AnswerRequest(HttpContext& context, HttpExchange& exchange) {
  absl::Status status;
  try {
    co_await Dispatch(context, exchange);
  } catch (const std::exception& e) {  // this request's alone
    status = StatusFromException(e, exchange.request().path);
  }
  co_await exchange.StopWatch();
  if (!status.ok() && !exchange.replied()) {
    co_await exchange.Reply(ErrorReply(ApiErrorFromStatus(status)));
  }
}

}  // namespace skipserve
