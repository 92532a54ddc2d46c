// The engine's canaries. A request that is to have one keeps its distributions while it answers;
// once it has ended well, a dense sequence of idle priority reads the same prompt and is fed the
// same tokens. Whatever happens to it, ordinary requests see nothing of it, but for the levels that
// the guard then serves.
#include <cmath>
#include <string>
#include <utility>

#include "engine/guarded.h"
#include "engine/llm_engine.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

// Answers that keep distributions at once. Few canaries can wait, and each record takes up to 32
// rows of the vocabulary's size: 6 MB at 49,152 tokens.
constexpr size_t kMaxRecords = 8;

// Canaries are sequences beside the requests', whose ids they must not use up: the same requests
// get the same canaries, whatever the rate.
SequenceId CanaryId(RequestId request) { return request | SequenceId{1} << 63; }

CanaryEvent Unmeasured(const Answer& answer, CanaryEvent::Outcome outcome,
                       const absl::Status& why) {
  CanaryEvent event;
  event.outcome = outcome;
  event.level = answer.skip().level;
  event.prompt_tokens = answer.skip().plan.prompt_tokens;
  event.why = std::string(why.message());
  return event;
}

}  // namespace

void LlmEngine::BeginRecord(RequestId id, const Answer& answer) {
  if (answer.skip().plan.dense() || UniformDraw(parts_.canary.seed, 0, id) >= parts_.canary.rate) {
    return;
  }
  if (records_.size() < kMaxRecords) {
    records_.emplace(id, CanaryRecord());
  } else {
    TellCanary(
        Unmeasured(answer, CanaryEvent::Outcome::kDropped,
                   absl::ResourceExhaustedError("too many answers at once are to have one")));
  }
}

void LlmEngine::Keep(RequestId id, const Answer& answer, absl::Span<const float> logits) {
  const auto record = records_.find(id);
  if (record == records_.end()) return;
  const absl::Status status = Guarded([&] {
    record->second.Add(logits, answer.last_token());
    return absl::OkStatus();
  });
  if (status.ok()) return;
  records_.erase(record);
  TellCanary(Unmeasured(answer, CanaryEvent::Outcome::kFailed, status));
}

void LlmEngine::StartCanary(RequestId id, const Answer& answer, bool ended_well) {
  auto record = records_.extract(id);
  if (record.empty()) return;
  const absl::Status status = Guarded([&] {
    if (!ended_well) return absl::CancelledError("its request did not end well");
    auto canary = std::make_shared<Canary>(id, answer.skip().level, answer.request().prompt,
                                           std::move(record.mapped()));
    const ResolvedSkip dense = parts_.levels->Dense(answer.skip().plan.prompt_tokens, "");
    absl::MutexLock lock(&mutex_);
    if (draining_) return absl::UnavailableError("the server is shutting down");
    RETURN_IF_ERROR(scheduler_.AddIdle(CanaryId(id), Shape(dense, canary->tokens())));
    canaries_.emplace(CanaryId(id), std::move(canary));
    return absl::OkStatus();
  });
  if (!status.ok()) TellCanary(Unmeasured(answer, CanaryEvent::Outcome::kDropped, status));
}

void LlmEngine::RunCanary(const Step& step) {
  const SequenceId id = step.canary_id;
  const absl::Time begin = parts_.now();
  const absl::StatusOr<bool> complete = Guarded([&]() -> absl::StatusOr<bool> {
    if (!parts_.executor->Knows(id)) {
      Executor::NewSequence sequence;
      sequence.prompt = step.canary->prompt();
      sequence.plan = DensePlan(parts_.info.config, static_cast<int64_t>(sequence.prompt.size()));
      RETURN_IF_ERROR(parts_.executor->Begin(id, std::move(sequence)));
    }
    ASSIGN_OR_RETURN(const auto logits, parts_.executor->Run(step.plan, step.tables));
    if (logits.empty()) return false;
    if (step.canary->Compare(logits[0].logits)) return true;
    parts_.executor->SetNextToken(id, step.canary->next_token());
    return false;
  });
  const absl::Duration took = parts_.now() - begin;
  ObserveStep(step.plan, took);
  if (!complete.ok()) {
    EndCanary(id, CanaryEvent::Outcome::kFailed, std::string(complete.status().message()));
  } else if (*complete) {
    EndCanary(id, CanaryEvent::Outcome::kMeasured, "");
  } else {
    absl::MutexLock lock(&mutex_);
    scheduler_.Commit(step.plan);
    scheduler_.Observe(step.plan.work, took);
  }
}

void LlmEngine::EndCanary(SequenceId id, CanaryEvent::Outcome outcome, std::string why) {
  parts_.executor->Forget(id);
  std::shared_ptr<Canary> canary;
  {
    absl::MutexLock lock(&mutex_);
    scheduler_.Remove(id);
    canary = std::move(canaries_.extract(id).mapped());
  }
  CanaryEvent event;
  event.outcome = outcome;
  event.level = canary->level();
  event.prompt_tokens = static_cast<int64_t>(canary->prompt().size());
  event.why = std::move(why);
  if (outcome == CanaryEvent::Outcome::kMeasured) {
    event.tokens = canary->tokens();
    event.agreeing = canary->agreeing();
    event.kl = canary->kl();
  }
  TellCanary(std::move(event));
}

void LlmEngine::TellCanary(CanaryEvent event) {
  if (event.outcome == CanaryEvent::Outcome::kMeasured && !std::isfinite(event.kl)) {
    event.outcome = CanaryEvent::Outcome::kFailed;
    event.why = "logits that are no numbers";
  }
  if (parts_.observer) parts_.observer->OnCanary(event);
  if (event.outcome != CanaryEvent::Outcome::kMeasured) return;
  const auto change = guard_.Measured(event.level, event.kl, parts_.now());
  if (change && parts_.observer) parts_.observer->OnLevelChange(*change);
}

void LlmEngine::TellRetries(absl::Time now) {
  for (const LevelChange& change : guard_.TakeRetries(now)) {
    if (parts_.observer) parts_.observer->OnLevelChange(change);
  }
}

}  // namespace skipserve
