// The server's figures for Prometheus: what is counted and how it is named. Does not serve them and
// decides nothing. A call is one request of a client; an answer is one of its n choices.
// Thread-safe.
#pragma once

#include <memory>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "engine/engine.h"
#include "server/recent_gaps.h"

namespace skipserve {

class Metrics : public EngineObserver {
 public:
  Metrics();
  ~Metrics() override;

  // Each call once, when it ended or was refused. Completion does this for all calls that came as
  // far as Completion::Start; a front end only for those that did not. `endpoint` is a fixed name,
  // never a client's text.
  void CallEnded(absl::string_view endpoint, const absl::Status& status, absl::Duration total);
  // One that has no answers: it reads a prefix.
  void CallEnded(absl::string_view endpoint, const absl::Status& status);

  // Tokens of a call's prompt, once however many answers were asked for.
  void PromptRead(int64_t tokens);

  // Likewise, of these the tokens found in the prefix cache, when the prompt's answer ended.
  void PromptCached(int64_t tokens);

  // Each answer that was accepted by the engine, once, when it ended.
  void AnswerEnded(const Report& report);

  // Between two tokens of one answer; `now` is the later one.
  void TokenGap(absl::Duration gap, absl::Time now);
  RecentGaps& recent_gaps() { return recent_gaps_; }

  void OnStep(absl::Duration duration, int64_t decode_tokens, int64_t prefill_tokens) override;
  void OnCanary(const CanaryEvent& event) override;
  void OnLevelChange(const LevelChange& change) override;

  // All of it in Prometheus' text format, with gauges as in `load`.
  std::string Expose(const EngineLoad& load);

 private:
  struct Series;
  std::unique_ptr<Series> series_;
  RecentGaps recent_gaps_;
  absl::Mutex mutex_;
  std::set<std::string> levels_ ABSL_GUARDED_BY(mutex_);  // with a gauge
};

}  // namespace skipserve
