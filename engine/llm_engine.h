// The engine proper: one step thread that plans, runs, samples and gives out tokens. Submit, Cancel
// and Drain may come from any thread; tensors, samplers and sinks are touched by the step thread
// alone.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <thread>
#include <unordered_map>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "engine/answer.h"
#include "engine/decoder.h"
#include "engine/engine.h"
#include "engine/executor.h"
#include "engine/quality/canary.h"
#include "engine/sampler.h"
#include "engine/skip/guard.h"
#include "engine/skip/levels.h"
#include "scheduler/scheduler.h"

namespace skipserve {

// What the engine is made of; it owns all of it.
struct EngineParts {
  ModelInfo info;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<ChatTemplate> chat_template;  // may be null
  std::unique_ptr<Ops> ops;
  std::unique_ptr<Decoder> decoder;
  std::unique_ptr<Executor> executor;
  std::unique_ptr<SkipLevels> levels;
  Scheduler::Options scheduler;
  bool prefix_cache = true;
  CanaryOptions canary;
  EngineObserver* observer = nullptr;
  std::function<absl::Time()> now = [] { return absl::Now(); };
};

class LlmEngine final : public Engine {
 public:
  explicit LlmEngine(EngineParts parts);
  ~LlmEngine() override;  // drains without grace

  absl::StatusOr<RequestId> Submit(GenerateRequest request,
                                   std::shared_ptr<ResponseSink> sink) override;
  void Cancel(RequestId id) override;
  absl::StatusOr<RequestId> ReadPrefix(PrefixRequest request,
                                       std::shared_ptr<ResponseSink> sink) override;
  std::vector<PrefixInfo> Prefixes(absl::string_view tenant) const override;
  absl::Status DropPrefix(absl::string_view tenant, absl::string_view name) override;
  void Drain(absl::Duration grace) override;
  absl::Duration RetryAfter() const override;
  EngineLoad load() const override;
  const ModelInfo& info() const override { return parts_.info; }
  const Tokenizer& tokenizer() const override { return *parts_.tokenizer; }
  const ChatTemplate* chat_template() const override { return parts_.chat_template.get(); }

 private:
  using AnswerPtr = std::shared_ptr<Answer>;
  struct Ended {
    RequestId id;
    AnswerPtr answer;
    absl::Status status;
  };
  struct Step {
    StepPlan plan;
    TablesById tables;
    struct Admitted {
      RequestId id;
      AnswerPtr answer;
      Scheduler::Cached cached;
      bool prefix_only = false;
      bool again = false;  // after a preemption
    };
    std::vector<Admitted> admitted;  // in a plan for the first time
    std::unordered_map<RequestId, AnswerPtr> answers;
    std::shared_ptr<Canary> canary;  // whose step it is, alone; else null
    SequenceId canary_id = 0;
    std::vector<SequenceId> dropped;  // canaries that are to end
    bool draining = false;
    bool incomplete = false;  // a sequence that got no memory has left the plan
  };

  void Loop();
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<Ended> TakeEnded(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Step PlanStep(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<Ended> BeginAdmitted(Step& step);
  std::vector<Ended> RunStep(Step& step);
  void ObserveStep(const StepPlan& plan, absl::Duration duration);
  void Finish(std::vector<Ended> ended);
  SequenceShape Shape(const ResolvedSkip& skip, int64_t max_tokens) const;
  // Likewise with what the request says of itself: its client, its priority, its prefix.
  absl::StatusOr<SequenceShape> Shape(const GenerateRequest& request, const ResolvedSkip& skip,
                                      int64_t max_tokens) const;
  // Whether it could not be answered in time even if it went on at once, and twice as fast as the
  // cost model thinks.
  bool TooLate(RequestId id, absl::Time deadline, absl::Time now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<RequestId> Queue(AnswerPtr answer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TellRequest(const Answer& answer, const absl::Status& status, absl::Time now);
  // Dense instead, where the prefix cache makes that the shorter way to the first token.
  absl::Status PreferCached(const GenerateRequest& request, int64_t max_tokens, ResolvedSkip& skip,
                            SequenceShape& shape);
  absl::StatusOr<ResolvedSkip> Resolve(const GenerateRequest& request, absl::Time now) const;

  // Prefixes, in llm_engine_prefix.cc.
  struct Prefix {
    PrefixInfo info;
    std::vector<PrefixKey> keys;
    bool read = false;
  };
  absl::Status KeepPrefix(Prefix& prefix, absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TakeRead(absl::Time now, std::vector<Ended>& ended) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Canaries, in llm_engine_canary.cc; on the step thread.
  void BeginRecord(RequestId id, const Answer& answer);
  void Keep(RequestId id, const Answer& answer, absl::Span<const float> logits);
  void StartCanary(RequestId id, const Answer& answer, bool ended_well);
  void RunCanary(const Step& step);
  void EndCanary(SequenceId id, CanaryEvent::Outcome outcome, std::string why);
  void TellCanary(CanaryEvent event);
  void TellRetries(absl::Time now);

  EngineParts parts_;
  const Sampler sampler_{};
  LevelGuard guard_;
  std::unordered_map<RequestId, CanaryRecord> records_;  // of running answers; the step thread's

  mutable absl::Mutex mutex_;
  Scheduler scheduler_ ABSL_GUARDED_BY(mutex_);
  std::unordered_map<RequestId, AnswerPtr> answers_ ABSL_GUARDED_BY(mutex_);
  std::unordered_map<SequenceId, std::shared_ptr<Canary>> canaries_ ABSL_GUARDED_BY(mutex_);
  using PrefixName = std::pair<std::string, std::string>;  // of the tenant, and of the prefix
  std::map<PrefixName, Prefix> prefixes_ ABSL_GUARDED_BY(mutex_);
  std::unordered_map<RequestId, PrefixName> reading_ ABSL_GUARDED_BY(mutex_);
  std::vector<RequestId> cancelled_ ABSL_GUARDED_BY(mutex_);
  int64_t open_ ABSL_GUARDED_BY(mutex_) = 0;  // submitted, and OnFinish not yet called
  int64_t preemptions_ ABSL_GUARDED_BY(mutex_) = 0;
  RequestId next_id_ ABSL_GUARDED_BY(mutex_) = 1;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;  // no new work
  bool abandon_ ABSL_GUARDED_BY(mutex_) = false;   // end what still runs
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;  // end the step thread

  std::thread thread_;
};

}  // namespace skipserve
