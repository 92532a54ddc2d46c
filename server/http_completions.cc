// POST /v1/chat/completions and /v1/completions: from the body to the engine, and from its events
// to the client, whole or as a stream. When the client goes, or anything fails on the way, the
// engine's work is cancelled.
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/time/clock.h"
#include "server/completion.h"
#include "server/http_events.h"
#include "server/http_router.h"
#include "server/http_work.h"
#include "server/openai_request.h"
#include "server/openai_response.h"
#include "server/prompt.h"
#include "server/sse.h"
#include "server/status.h"

namespace skipserve {
namespace {

// A call read and tokenized: `error`, or a request and its prompts.
struct PreparedCall {
  std::optional<ApiError> error;
  OpenAiRequest request;
  std::vector<std::vector<int32_t>> prompts;
};

std::optional<ApiError> AddPrompt(const Engine& engine, absl::StatusOr<std::vector<int32_t>> ids,
                                  const char* param, PreparedCall* call) {
  if (!ids.ok()) return ApiErrorFromStatus(ids.status(), param);
  const auto size = static_cast<int64_t>(ids->size());
  const int64_t max_tokens = call->request.generate.stop.max_tokens;
  if (const absl::Status fits = CheckContext(engine.info(), size, max_tokens); !fits.ok()) {
    const bool fits_alone = CheckContext(engine.info(), size, 0).ok();
    return ApiErrorFromStatus(fits, fits_alone ? "max_tokens" : param);
  }
  call->prompts.push_back(*std::move(ids));
  return std::nullopt;
}

std::optional<ApiError> Tokenize(const Engine& engine, PreparedCall* call) {
  if (call->request.api == OpenAiApi::kChat) {
    return AddPrompt(engine, PromptFromChat(engine, call->request.messages, PromptUse::kRead),
                     "messages", call);
  }
  for (OpenAiPrompt& prompt : call->request.prompts) {
    absl::StatusOr<std::vector<int32_t>> ids = std::move(prompt.ids);
    if (!prompt.is_ids) ids = PromptFromText(engine, prompt.text, PromptUse::kRead);
    if (auto error = AddPrompt(engine, std::move(ids), "prompt", call)) return error;
  }
  return std::nullopt;
}

std::optional<ApiError> Read(const HttpContext& context, const HttpRequest& http,
                             PreparedCall* call) {
  nlohmann::json json;
  if (auto error = ReadJson(http, &json)) return error;
  OpenAiRequest& request = call->request;
  if (auto error = ParseOpenAiRequest(request.api, json, context.engine.info(), &request)) {
    return error;
  }
  if (!context.IsModelName(request.model)) return context.NoSuchModel(request.model);
  // A key says whose it is; without keys the caller's word is good enough.
  if (const absl::Status status = context.options.api_keys.Claim(http.client, request.generate);
      !status.ok()) {
    return ApiErrorFromStatus(status, "priority");
  }
  if (!request.has_seed) request.generate.sampling.seed = NewSeed();
  return Tokenize(context.engine, call);
}

// On a worker. Whatever the text was, its memory is free afterwards.
PreparedCall Prepare(const HttpContext& context, OpenAiApi api, HttpRequest& http) {
  PreparedCall call;
  call.request.api = api;
  try {
    call.error = Read(context, http, &call);
  } catch (const std::exception& e) {
    call.error = ApiErrorFromStatus(StatusFromException(e, http.path));
  }
  http.FreeBody();
  call.request.messages.clear();
  call.request.prompts.clear();
  return call;
}

// The engine's work for one call. Whatever way the handler is left, the work ends and no event
// reaches it afterwards.
class Work {
 public:
  explicit Work(asio::any_io_executor strand) : events_(std::make_shared<HttpEvents>(strand)) {}
  ~Work() {
    events_->Detach();
    if (completion_ != nullptr) completion_->Cancel();
  }
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;

  absl::Status Start(HttpContext& context, PreparedCall& call, CompletionContext about) {
    auto completion =
        Completion::Start(context.engine, context.metrics,
                          {call.request.generate, std::move(call.prompts), call.request.n},
                          std::move(about), events_);
    if (completion.ok()) completion_ = *std::move(completion);
    return completion.status();
  }

  const std::shared_ptr<HttpEvents>& events() { return events_; }

 private:
  const std::shared_ptr<HttpEvents> events_;
  std::shared_ptr<Completion> completion_;
};

asio::awaitable<void> AnswerWhole(HttpExchange& exchange, Work& work, OpenAiResponse& response) {
  while (!response.done() && !response.failure() && !exchange.gone()) {
    std::vector<HttpEvent> events = co_await work.events()->Take(HttpTransport::kNever);
    for (HttpEvent& event : events) {
      if (auto* token = std::get_if<TokenEvent>(&event.what)) {
        response.CollectToken(event.choice, std::move(*token));
      } else {
        response.CollectFinish(event.choice, std::get<FinishEvent>(std::move(event.what)));
      }
    }
  }
  if (exchange.gone()) co_return;
  HttpReply reply = response.failure() ? ErrorReply(ApiErrorFromStatus(*response.failure()))
                                       : JsonReply(200, response.Whole());
  co_await exchange.StopWatch();
  co_await exchange.Reply(std::move(reply));
}

// The text to send for some events; several tokens that came while the client was slow go out in
// one write.
std::string StreamText(std::vector<HttpEvent> events, OpenAiResponse& response) {
  std::string text;
  for (const HttpEvent& event : events) {
    if (response.failure()) break;
    const auto* token = std::get_if<TokenEvent>(&event.what);
    const std::vector<OrderedJson> chunks =
        token != nullptr ? response.OnToken(event.choice, *token)
                         : response.OnFinish(event.choice, std::get<FinishEvent>(event.what));
    for (const OrderedJson& chunk : chunks) text += SseData(DumpJson(chunk));
  }
  return text;
}

// The head waits for the first event, so that a request that fails before its first token gets a
// proper HTTP status; but not longer than the heartbeat, since proxies give up on a silent
// connection.
asio::awaitable<void> AnswerStream(HttpContext& context, HttpExchange& exchange, Work& work,
                                   OpenAiResponse& response) {
  HttpReply head;
  head.content_type = "text/event-stream; charset=utf-8";
  head.headers = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}};
  bool begun = false;
  while (!response.done() && !response.failure() && !exchange.gone()) {
    const Clock::time_point beat = Clock::now() + context.options.heartbeat;
    std::vector<HttpEvent> events = co_await work.events()->Take(beat);
    std::string text = StreamText(std::move(events), response);
    if (text.empty() && Clock::now() >= beat) text = SseComment("waiting");
    if (response.failure() && !begun) {
      co_await exchange.StopWatch();
      co_await exchange.Reply(ErrorReply(ApiErrorFromStatus(*response.failure())));
      co_return;
    }
    if (response.failure()) {
      text += SseData(DumpJson(ErrorJson(ApiErrorFromStatus(*response.failure()))));
    }
    if (text.empty()) continue;
    if (response.done() || response.failure()) text += SseDone();
    bool sent = true;
    if (!begun) sent = co_await exchange.BeginStream(head);
    begun = true;
    if (sent) sent = co_await exchange.Send(std::move(text));
    if (!sent) co_return;
  }
  if (exchange.gone()) co_return;
  co_await exchange.StopWatch();
  co_await exchange.EndStream();
}

asio::awaitable<void> Handle(HttpContext& context, HttpExchange& exchange, OpenAiApi api) {
  const absl::Time begun = absl::Now();
  const CompletionContext about{NewCallId(api == OpenAiApi::kChat ? "chatcmpl" : "cmpl"),
                                exchange.request().path};
  exchange.set_id(about.id);
  PreparedCall call = co_await RunOn(context.workers, [&context, &exchange, api] {
    return Prepare(context, api, exchange.request());
  });
  if (call.error) {
    CountRefused(context.metrics, about,
                 StatusFromHttp(call.error->http_status, call.error->message), absl::Now() - begun);
    co_await exchange.Reply(ErrorReply(*call.error));
    co_return;
  }
  const int choices = static_cast<int>(call.prompts.size()) * call.request.n;
  Work work(exchange.executor());
  if (const absl::Status started = work.Start(context, call, about); !started.ok()) {
    co_await exchange.Reply(ErrorReply(ApiErrorFromStatus(started), context.engine.RetryAfter()));
    co_return;
  }
  exchange.StartWatch([events = work.events()] { events->Wake(); });
  OpenAiResponse response({about.id, context.options.served_name, absl::ToUnixSeconds(absl::Now())},
                          call.request, choices, context.engine.tokenizer());
  if (call.request.stream) {
    co_await AnswerStream(context, exchange, work, response);
  } else {
    co_await AnswerWhole(exchange, work, response);
  }
}

}  // namespace

asio::awaitable<void> HandleChatCompletions(HttpContext& context, HttpExchange& exchange) {
  co_await Handle(context, exchange, OpenAiApi::kChat);
}

asio::awaitable<void> HandleCompletions(HttpContext& context, HttpExchange& exchange) {
  co_await Handle(context, exchange, OpenAiApi::kCompletions);
}

}  // namespace skipserve
