#include "server/run_request.h"

#include <deque>
#include <memory>
#include <optional>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

// Events on their way from the engine's thread to the caller's.
class Inbox final : public ResponseSink {
 public:
  void OnToken(TokenEvent event) override {
    absl::MutexLock lock(&mutex_);
    tokens_.push_back(std::move(event));
  }

  void OnFinish(FinishEvent event) override {
    absl::MutexLock lock(&mutex_);
    finish_ = std::move(event);
  }

  // The tokens that have come, at least one; none at the end.
  std::deque<TokenEvent> Take() {
    const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return !tokens_.empty() || finish_.has_value();
    };
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&ready));
    return std::exchange(tokens_, {});
  }

  // After Take has given nothing.
  FinishEvent TakeFinish() {
    absl::MutexLock lock(&mutex_);
    return *std::move(finish_);
  }

 private:
  absl::Mutex mutex_;
  std::deque<TokenEvent> tokens_ ABSL_GUARDED_BY(mutex_);
  std::optional<FinishEvent> finish_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

absl::StatusOr<RunOutcome> RunRequest(Engine& engine, GenerateRequest request,
                                      const std::function<void(absl::string_view)>& on_text,
                                      Interrupt* interrupt) {
  auto inbox = std::make_shared<Inbox>();
  ASSIGN_OR_RETURN(const RequestId id, engine.Submit(std::move(request), inbox));
  if (interrupt != nullptr) interrupt->OnInterrupt([&engine, id] { engine.Cancel(id); });
  RunOutcome outcome;
  const auto give = [&](const std::string& text) {
    outcome.text += text;
    if (on_text && !text.empty()) on_text(text);
  };
  while (true) {
    const std::deque<TokenEvent> tokens = inbox->Take();
    if (tokens.empty()) break;
    for (const TokenEvent& token : tokens) {
      outcome.ids.push_back(token.id);
      give(token.text);
    }
  }
  if (interrupt != nullptr) interrupt->OnInterrupt(nullptr);
  FinishEvent finish = inbox->TakeFinish();
  give(finish.text);
  outcome.status = std::move(finish.status);
  outcome.reason = finish.reason;
  outcome.report = std::move(finish.report);
  return outcome;
}

double DecodeRate(const Report& report) {
  const double gap = absl::ToDoubleSeconds(report.inter_token_mean);
  return gap > 0 ? 1 / gap : 0;
}

}  // namespace skipserve
