#include "server/engine_log.h"

#include "server/log.h"

namespace skipserve {

void EngineLog::OnCanary(const CanaryEvent& event) {
  using Outcome = CanaryEvent::Outcome;
  nlohmann::ordered_json line = {
      {"event", "canary"}, {"level", event.level}, {"prompt_tokens", event.prompt_tokens}};
  if (event.outcome == Outcome::kMeasured) {
    line["tokens"] = event.tokens;
    line["agreeing"] = event.agreeing;
    line["kl"] = event.kl;
  } else {
    line[event.outcome == Outcome::kDropped ? "dropped" : "failed"] = event.why;
  }
  LogEvent(event.outcome == Outcome::kFailed ? spdlog::level::warn : spdlog::level::info, line);
}

void EngineLog::OnLevelChange(const LevelChange& change) {
  const LevelFallback& level = change.level;
  nlohmann::ordered_json line = {{"event", ""}, {"level", level.level}};
  auto severity = spdlog::level::info;
  switch (change.kind) {
    case LevelChange::Kind::kFellBack:
      severity = spdlog::level::warn;
      line["event"] = "level_fell_back";
      line["served_by"] = level.served_by;
      line["canary_kl"] = level.kl;
      line["canary_max_kl"] = level.max_kl;
      line["retry_in_seconds"] = absl::ToDoubleSeconds(level.retry_in);
      break;
    case LevelChange::Kind::kRetried:
      line["event"] = "level_retried";
      break;
    case LevelChange::Kind::kRecovered:
      line["event"] = "level_recovered";
      line["canary_kl"] = level.kl;
      line["canary_max_kl"] = level.max_kl;
      break;
  }
  LogEvent(severity, line);
}

}  // namespace skipserve
