// POST /v1/chat/completions and /v1/completions: from the body to the engine, and from its events
// to the client, whole or as a stream. When the client goes, or anything fails on the way, the
// engine's work is cancelled.
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "server/completion.h"
#include "server/http_events.h"
#include "server/http_router.h"
#include "server/http_work.h"
#include "server/openai_json.h"
#include "server/openai_request.h"
#include "server/openai_response.h"
#include "server/prompt.h"
#include "server/sse.h"

namespace skipserve {
namespace {

// A call read and tokenized: `error`, or a request and its prompts.
struct PreparedCall {
  std::optional<ApiError> error;
  OpenAiRequest request;
  std::vector<std::vector<int32_t>> prompts;
};

uint64_t RandomWord() {
  thread_local std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

std::optional<ApiError> Tokenize(const Engine& engine, PreparedCall* call) {
  const OpenAiRequest& request = call->request;
  const bool chat = request.api == OpenAiApi::kChat;
  const char* param = chat ? "messages" : "prompt";
  const size_t count = chat ? 1 : request.prompts.size();
  for (size_t i = 0; i < count; ++i) {
    absl::StatusOr<std::vector<int32_t>> ids;
    if (chat) {
      ids = PromptFromChat(engine, request.messages);
    } else if (request.prompts[i].is_ids) {
      ids = PromptFromIds(engine, request.prompts[i].ids);
    } else {
      ids = PromptFromText(engine, request.prompts[i].text);
    }
    if (!ids.ok()) return ApiErrorFromStatus(ids.status(), param);
    const auto size = static_cast<int64_t>(ids->size());
    const absl::Status fits = CheckContext(engine.info(), size, request.generate.stop.max_tokens);
    if (!fits.ok()) {
      const bool fits_alone = CheckContext(engine.info(), size, 0).ok();
      ApiError error = ApiErrorFromStatus(fits, fits_alone ? "max_tokens" : param);
      if (size > 0) error.code = "context_length_exceeded";
      return error;
    }
    call->prompts.push_back(*std::move(ids));
  }
  return std::nullopt;
}

PreparedCall Prepare(const HttpContext& context, OpenAiApi api, const std::string& body) {
  PreparedCall call;
  nlohmann::json json;
  const ModelInfo& model = context.engine.info();
  call.error = ParseJsonObject(body, &json);
  if (!call.error) call.error = ParseOpenAiRequest(api, json, model, &call.request);
  if (!call.error && !context.IsModelName(call.request.model)) {
    call.error = ApiErrorFor(
        404, absl::StrCat("The model '", call.request.model.substr(0, 200), "' does not exist."));
    call.error->param = "model";
    call.error->code = "model_not_found";
  }
  if (!call.error) call.error = Tokenize(context.engine, &call);
  if (!call.request.has_seed) call.request.generate.sampling.seed = RandomWord();
  return call;
}

// The engine's work for one call. Whatever way the handler is left, the work ends and no event
// reaches it afterwards.
class Work {
 public:
  explicit Work(asio::any_io_executor strand) : events_(std::make_shared<HttpEvents>(strand)) {}
  ~Work() {
    events_->Detach();
    for (const auto& completion : completions_) completion->Cancel();
  }
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;

  absl::Status Start(HttpContext& context, PreparedCall& call, const CompletionContext& about) {
    for (std::vector<int32_t>& prompt : call.prompts) {
      GenerateRequest generate = call.request.generate;
      generate.prompt = std::move(prompt);
      const int first = static_cast<int>(completions_.size()) * call.request.n;
      auto completion =
          Completion::Start(context.engine, context.metrics, std::move(generate), call.request.n,
                            about, HttpEvents::Listener(events_, first));
      if (!completion.ok()) return completion.status();
      completions_.push_back(*std::move(completion));
    }
    return absl::OkStatus();
  }

  HttpEvents& events() { return *events_; }
  std::shared_ptr<HttpEvents> shared_events() { return events_; }

 private:
  const std::shared_ptr<HttpEvents> events_;
  std::vector<std::shared_ptr<Completion>> completions_;
};

asio::awaitable<void> AnswerWhole(HttpExchange& exchange, Work& work, OpenAiResponse& response,
                                  const std::string& id) {
  while (!response.done() && !response.failure() && !exchange.gone()) {
    std::vector<HttpEvent> events = co_await work.events().Take(HttpTransport::kNever);
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
  reply.headers.emplace_back("X-Request-Id", id);
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
                                   OpenAiResponse& response, const std::string& id) {
  HttpReply head;
  head.content_type = "text/event-stream; charset=utf-8";
  head.headers = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}, {"X-Request-Id", id}};
  bool begun = false;
  while (!response.done() && !response.failure() && !exchange.gone()) {
    const Clock::time_point beat = Clock::now() + context.options.heartbeat;
    std::vector<HttpEvent> events = co_await work.events().Take(beat);
    std::string text = StreamText(std::move(events), response);
    if (text.empty() && Clock::now() >= beat) text = SseComment("waiting");
    if (response.failure() && !begun) {
      HttpReply reply = ErrorReply(ApiErrorFromStatus(*response.failure()));
      reply.headers.emplace_back("X-Request-Id", id);
      co_await exchange.StopWatch();
      co_await exchange.Reply(std::move(reply));
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
  const std::string body = std::move(exchange.request().body);
  PreparedCall call = co_await RunOn(
      context.workers, [&context, api, &body] { return Prepare(context, api, body); });
  const std::string id = absl::StrFormat(
      "%s-%016x%016x", api == OpenAiApi::kChat ? "chatcmpl" : "cmpl", RandomWord(), RandomWord());
  if (call.error) {
    context.metrics.CallEnded(exchange.request().path,
                              absl::InvalidArgumentError(call.error->message), absl::Now() - begun);
    co_await exchange.Reply(ErrorReply(*call.error));
    co_return;
  }
  const int choices = static_cast<int>(call.prompts.size()) * call.request.n;
  Work work(exchange.executor());
  const absl::Status started = work.Start(context, call, {id, exchange.request().path});
  if (!started.ok()) {
    co_await exchange.Reply(ErrorReply(ApiErrorFromStatus(started)));
    co_return;
  }
  exchange.StartWatch([events = work.shared_events()] { events->Wake(); });
  OpenAiResponse response({id, context.options.served_name, absl::ToUnixSeconds(absl::Now())},
                          call.request, choices, context.engine.tokenizer());
  if (call.request.stream) {
    co_await AnswerStream(context, exchange, work, response, id);
  } else {
    co_await AnswerWhole(exchange, work, response, id);
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
