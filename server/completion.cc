// See the header. A call's events pass through one Call, which holds them back until all choices
// are accepted, counts, and hands them on.
#include "server/completion.h"

#include <algorithm>
#include <cstddef>
#include <exception>
#include <utility>
#include <variant>

#include "absl/base/thread_annotations.h"
#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "engine/status_macros.h"
#include "server/log.h"
#include "server/prompt.h"
#include "server/request_limits.h"
#include "server/status.h"

namespace skipserve {
namespace {

// What the log and the metrics get to know of a call.
struct Tally {
  absl::Status status;  // the first that is not OK
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;
  int64_t completion_tokens = 0;
  absl::Duration ttft = absl::InfiniteDuration();  // of the first answer to start
  std::string skip_level;
  double skip_ratio = 0;
  std::string policy_fingerprint;

  void Add(const FinishEvent& event) {
    if (status.ok()) status = event.status;
    completion_tokens += event.report.completion_tokens;
    if (event.report.completion_tokens > 0) ttft = std::min(ttft, event.report.ttft);
    if (skip_level.empty()) {
      skip_level = event.report.skip_level;
      skip_ratio = event.report.skip_ratio;
      policy_fingerprint = event.report.policy_fingerprint;
    }
  }
};

void CountAndLog(Metrics& metrics, const CompletionContext& context, const Tally& tally,
                 absl::Duration total) {
  metrics.CallEnded(context.endpoint, tally.status, total);
  nlohmann::ordered_json line = {{"event", "request"},
                                 {"id", context.id},
                                 {"endpoint", context.endpoint},
                                 {"outcome", std::string(OutcomeLabel(tally.status))}};
  if (tally.prompt_tokens > 0) {
    line["prompt_tokens"] = tally.prompt_tokens;
    line["cached_tokens"] = tally.cached_tokens;
    line["completion_tokens"] = tally.completion_tokens;
  }
  if (tally.ttft != absl::InfiniteDuration()) {
    line["ttft_seconds"] = absl::ToDoubleSeconds(tally.ttft);
  }
  line["total_seconds"] = absl::ToDoubleSeconds(total);
  if (!tally.skip_level.empty()) {
    line["skip_level"] = tally.skip_level;
    line["skip_ratio"] = tally.skip_ratio;
    if (!tally.policy_fingerprint.empty()) line["policy_fingerprint"] = tally.policy_fingerprint;
  }
  const bool ours = OutcomeLabel(tally.status) == "error";
  // Only our own failures are explained: a client's mistake may quote its input.
  if (ours) line["error"] = std::string(tally.status.message());
  LogEvent(ours ? spdlog::level::err : spdlog::level::info, line);
}

int64_t Choices(const CompletionRequest& request) {
  return request.n * static_cast<int64_t>(request.prompts.size());
}

class Call {
 public:
  Call(Metrics& metrics, CompletionContext context, const CompletionRequest& request,
       std::shared_ptr<CompletionListener> listener)
      : metrics_(metrics),
        context_(std::move(context)),
        started_(absl::Now()),
        answers_per_prompt_(request.n),
        listener_(std::move(listener)),
        running_(Choices(request)),
        last_token_(Choices(request), absl::InfinitePast()) {
    for (const auto& prompt : request.prompts) {
      tally_.prompt_tokens += static_cast<int64_t>(prompt.size());
    }
  }

  // Every choice was accepted: what was held back goes out, in its order.
  void Release() {
    absl::MutexLock lock(&mutex_);
    phase_ = Phase::kLive;
    metrics_.PromptRead(tally_.prompt_tokens);
    for (Held& held : held_) Forward(held.choice, std::move(held.event));
    held_.clear();
  }

  // A choice was refused: nothing reaches the listener, whatever the others still do.
  void Refuse(const absl::Status& status) {
    absl::MutexLock lock(&mutex_);
    phase_ = Phase::kRefused;
    held_.clear();
    listener_.reset();
    tally_.status = status;
    CountAndLog(metrics_, context_, tally_, absl::Now() - started_);
  }

  void Take(int choice, std::variant<TokenEvent, FinishEvent> event) {
    absl::MutexLock lock(&mutex_);
    if (phase_ == Phase::kRefused) return;
    if (std::holds_alternative<TokenEvent>(event)) {
      const absl::Time now = absl::Now();
      if (last_token_[choice] != absl::InfinitePast())
        metrics_.TokenGap(now - last_token_[choice], now);
      last_token_[choice] = now;
    }
    if (phase_ == Phase::kStarting) {
      held_.push_back({choice, std::move(event)});
    } else {
      Forward(choice, std::move(event));
    }
  }

 private:
  enum class Phase { kStarting, kLive, kRefused };
  struct Held {
    int choice;
    std::variant<TokenEvent, FinishEvent> event;
  };

  void Forward(int choice, std::variant<TokenEvent, FinishEvent> event)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (auto* token = std::get_if<TokenEvent>(&event)) {
      listener_->OnToken(choice, std::move(*token));
      return;
    }
    FinishEvent& finish = std::get<FinishEvent>(event);
    tally_.Add(finish);
    metrics_.AnswerEnded(finish.report);
    if (choice % answers_per_prompt_ == 0) {  // as in the usage that the client gets
      metrics_.PromptCached(finish.report.cached_tokens);
      tally_.cached_tokens += finish.report.cached_tokens;
    }
    // Counted first: who has seen a call end finds it in the metrics.
    const bool last = --running_ == 0;
    if (last) CountAndLog(metrics_, context_, tally_, absl::Now() - started_);
    listener_->OnFinish(choice, std::move(finish));
    if (last) listener_.reset();
  }

  Metrics& metrics_;
  const CompletionContext context_;
  const absl::Time started_;
  const int answers_per_prompt_;
  absl::Mutex mutex_;
  Phase phase_ ABSL_GUARDED_BY(mutex_) = Phase::kStarting;
  std::vector<Held> held_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<CompletionListener> listener_ ABSL_GUARDED_BY(mutex_);
  Tally tally_ ABSL_GUARDED_BY(mutex_);
  int64_t running_ ABSL_GUARDED_BY(mutex_);
  std::vector<absl::Time> last_token_ ABSL_GUARDED_BY(mutex_);
};

class ChoiceSink : public ResponseSink {
 public:
  ChoiceSink(std::shared_ptr<Call> call, int choice) : call_(std::move(call)), choice_(choice) {}
  void OnToken(TokenEvent event) override { call_->Take(choice_, std::move(event)); }
  void OnFinish(FinishEvent event) override { call_->Take(choice_, std::move(event)); }

 private:
  const std::shared_ptr<Call> call_;
  const int choice_;
};

absl::Status CheckCall(const Engine& engine, const CompletionRequest& request) {
  if (Choices(request) < 1 || Choices(request) > kMaxChoices) {
    return absl::InvalidArgumentError(
        absl::StrCat("n times the number of prompts must be from 1 to ", kMaxChoices,
                     "; these are ", request.n, " and ", request.prompts.size()));
  }
  for (const auto& prompt : request.prompts) {
    RETURN_IF_ERROR(CheckContext(engine.info(), static_cast<int64_t>(prompt.size()),
                                 request.generate.stop.max_tokens));
  }
  return absl::OkStatus();
}

// Whoever gets an error finds in `ids` what was submitted before it.
absl::Status SubmitAll(Engine& engine, CompletionRequest request, const std::shared_ptr<Call>& call,
                       std::vector<RequestId>& ids) {
  SamplingParams& sampling = request.generate.sampling;
  // OpenAI's clients may ask for a nucleus of nothing: only the best token is in it.
  if (sampling.top_p == 0) sampling.temperature = 0, sampling.top_p = 1;
  ids.reserve(Choices(request));
  for (std::vector<int32_t>& prompt : request.prompts) {
    for (int i = 0; i < request.n; ++i) {
      GenerateRequest one = request.generate;
      one.prompt = i + 1 < request.n ? prompt : std::move(prompt);
      one.sampling.choice = static_cast<uint32_t>(i);
      auto sink = std::make_shared<ChoiceSink>(call, static_cast<int>(ids.size()));
      ASSIGN_OR_RETURN(const RequestId id, engine.Submit(std::move(one), std::move(sink)));
      ids.push_back(id);
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<Completion>> Completion::Start(
    Engine& engine, Metrics& metrics, CompletionRequest request, CompletionContext context,
    std::shared_ptr<CompletionListener> listener) {
  if (const absl::Status status = CheckCall(engine, request); !status.ok()) {
    CountRefused(metrics, context, status, absl::ZeroDuration());
    return status;
  }
  const std::string endpoint = context.endpoint;
  auto call = std::make_shared<Call>(metrics, std::move(context), request, std::move(listener));
  std::shared_ptr<Completion> completion(new Completion(engine));
  absl::Status status;
  try {
    status = SubmitAll(engine, std::move(request), call, completion->ids_);
  } catch (const std::exception& error) {
    status = StatusFromException(error, endpoint);
  }
  if (!status.ok()) {
    call->Refuse(status);
    completion->Cancel();
    return status;
  }
  call->Release();
  return completion;
}

void Completion::Cancel() {
  for (const RequestId id : ids_) engine_.Cancel(id);
}

void CountRefused(Metrics& metrics, const CompletionContext& context, const absl::Status& status,
                  absl::Duration total) {
  Tally tally;
  tally.status = status;
  CountAndLog(metrics, context, tally, total);
}

std::string NewCallId(absl::string_view kind) {
  return absl::StrFormat("%s-%016x", kind, absl::Uniform<uint64_t>(absl::BitGen()));
}

uint64_t NewSeed() { return absl::Uniform<uint64_t>(absl::BitGen()); }

}  // namespace skipserve
