// /v1/prefixes: documents that are read before their questions. Whoever asks for one waits until it
// is read; when that client goes, the reading is cancelled.
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/time/clock.h"
#include "server/completion.h"
#include "server/http_events.h"
#include "server/http_router.h"
#include "server/http_work.h"
#include "server/openai_prefix.h"
#include "server/prefix.h"
#include "server/prompt.h"
#include "server/status.h"

namespace skipserve {
namespace {

struct PreparedPrefix {
  std::optional<ApiError> error;  // or the request
  PrefixRequest request;
};

absl::StatusOr<std::vector<int32_t>> Tokens(const Engine& engine, OpenAiPrefix& prefix) {
  if (prefix.field == "messages") return PrefixFromChat(engine, prefix.messages);
  if (prefix.field == "prompt") return PromptFromText(engine, prefix.text, PromptUse::kRead);
  return std::move(prefix.request.tokens);
}

std::optional<ApiError> Read(const HttpContext& context, const HttpRequest& http,
                             PrefixRequest* out) {
  nlohmann::json json;
  if (auto error = ReadJson(http, &json)) return error;
  OpenAiPrefix prefix;
  if (auto error = ParsePrefix(json, context.engine.info(), &prefix)) return error;
  if (!context.IsModelName(prefix.model)) return context.NoSuchModel(prefix.model);
  absl::StatusOr<std::vector<int32_t>> tokens = Tokens(context.engine, prefix);
  absl::Status status = tokens.status();
  if (status.ok()) {
    status = CheckContext(context.engine.info(), static_cast<int64_t>(tokens->size()), 0);
  }
  if (!status.ok()) return ApiErrorFromStatus(status, prefix.field);
  *out = std::move(prefix.request);
  out->tokens = *std::move(tokens);
  return std::nullopt;
}

// On a worker. The body's memory is free afterwards.
PreparedPrefix Prepare(const HttpContext& context, HttpRequest& http) {
  PreparedPrefix call;
  try {
    call.error = Read(context, http, &call.request);
  } catch (const std::exception& e) {
    call.error = ApiErrorFromStatus(StatusFromException(e, http.path));
  }
  http.FreeBody();
  return call;
}

HttpReply PrefixReply(int http_status, const absl::StatusOr<PrefixInfo>& info) {
  if (!info.ok()) return ErrorReply(ApiErrorFromStatus(info.status()));
  return JsonReply(http_status, PrefixJson(*info));
}

}  // namespace

asio::awaitable<void> HandleReadPrefix(HttpContext& context, HttpExchange& exchange) {
  const absl::Time begun = absl::Now();
  const CompletionContext about{NewCallId("prefix"), exchange.request().path};
  exchange.set_id(about.id);
  PreparedPrefix call = co_await RunOn(
      context.workers, [&context, &exchange] { return Prepare(context, exchange.request()); });
  if (call.error) {
    CountRefused(context.metrics, about,
                 StatusFromHttp(call.error->http_status, call.error->message), absl::Now() - begun);
    co_await exchange.Reply(ErrorReply(*call.error));
    co_return;
  }
  const std::string name = call.request.name, tenant = exchange.request().client;
  call.request.tenant = call.request.client = tenant;
  const auto events = std::make_shared<HttpEvents>(exchange.executor());
  const auto detach = absl::MakeCleanup([&events] { events->Detach(); });
  const absl::StatusOr<RequestId> id =
      StartPrefix(context.engine, context.metrics, std::move(call.request), about, events);
  if (!id.ok()) {
    co_await exchange.Reply(
        ErrorReply(ApiErrorFromStatus(id.status()), context.engine.RetryAfter()));
    co_return;
  }
  const auto cancel = absl::MakeCleanup([&context, &id] { context.engine.Cancel(*id); });
  exchange.StartWatch([events] { events->Wake(); });
  std::vector<HttpEvent> ended;
  while (ended.empty() && !exchange.gone()) {
    ended = co_await events->Take(HttpTransport::kNever);
  }
  if (exchange.gone()) co_return;
  co_await exchange.StopWatch();
  const absl::Status status = std::get<FinishEvent>(ended.front().what).status;
  HttpReply reply = status.ok() ? PrefixReply(201, FindPrefix(context.engine, tenant, name))
                                : ErrorReply(ApiErrorFromStatus(status));
  co_await exchange.Reply(std::move(reply));
}

HttpReply HandlePrefixes(HttpContext& context, const HttpRequest& request) {
  return JsonReply(200, PrefixListJson(context.engine.Prefixes(request.client)));
}

HttpReply HandlePrefix(HttpContext& context, const HttpRequest& request) {
  return PrefixReply(200, FindPrefix(context.engine, request.client, request.argument));
}

HttpReply HandleDropPrefix(HttpContext& context, const HttpRequest& request) {
  const absl::Status status = context.engine.DropPrefix(request.client, request.argument);
  if (!status.ok()) return ErrorReply(ApiErrorFromStatus(status));
  return JsonReply(200, {{"object", "prefix"}, {"name", request.argument}, {"deleted", true}});
}

}  // namespace skipserve
