#include "engine/llm_engine.h"

#include <algorithm>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/check_request.h"
#include "engine/guarded.h"
#include "engine/prefix_keys.h"
#include "engine/status_macros.h"

namespace skipserve {
namespace {

std::vector<std::string> LevelNames(const ModelInfo& info) {
  std::vector<std::string> names;
  for (const SkipLevelInfo& level : info.skip_levels) names.push_back(level.name);
  return names;
}

}  // namespace

LlmEngine::LlmEngine(EngineParts parts)
    : parts_(std::move(parts)),
      guard_(LevelNames(parts_.info), parts_.canary.guard),
      scheduler_(parts_.scheduler) {
  if (parts_.observer) parts_.observer->OnOpen(parts_.scheduler);
  thread_ = std::thread([this] { Loop(); });
}

LlmEngine::~LlmEngine() {
  Drain(absl::ZeroDuration());
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

// --- any thread
// -----------------------------------------------------------------------------------------------------

absl::StatusOr<RequestId> LlmEngine::Submit(GenerateRequest request,
                                            std::shared_ptr<ResponseSink> sink) {
  const absl::Time now = parts_.now();
  ASSIGN_OR_RETURN(const int64_t max_tokens, CheckRequest(request, parts_.info));
  ASSIGN_OR_RETURN(ResolvedSkip skip, Resolve(request, now));
  ASSIGN_OR_RETURN(SequenceShape shape, Shape(request, skip, max_tokens));
  RETURN_IF_ERROR(PreferCached(request, max_tokens, skip, shape));
  auto answer = std::make_shared<Answer>(std::move(request), std::move(skip), std::move(shape),
                                         max_tokens, *parts_.tokenizer, std::move(sink), now);
  absl::StatusOr<RequestId> id = [&] {
    absl::MutexLock lock(&mutex_);
    return Queue(answer);
  }();
  if (!id.ok()) TellRequest(*answer, id.status(), now);
  return id;
}

absl::Status LlmEngine::PreferCached(const GenerateRequest& request, int64_t max_tokens,
                                     ResolvedSkip& skip, SequenceShape& shape) {
  if (request.skip.mode != SkipRequest::Mode::kAuto || skip.plan.dense() || !parts_.prefix_cache) {
    return absl::OkStatus();
  }
  ResolvedSkip dense = parts_.levels->Dense(skip.plan.prompt_tokens,
                                            "read densely: that much of the prompt is cached");
  ASSIGN_OR_RETURN(SequenceShape dense_shape, Shape(request, dense, max_tokens));
  absl::MutexLock lock(&mutex_);
  if (scheduler_.CachedBlocks(dense_shape.prefix_keys) == 0 ||
      scheduler_.PrefillSeconds(dense_shape) > scheduler_.PrefillSeconds(shape)) {
    return absl::OkStatus();
  }
  skip = std::move(dense);
  shape = std::move(dense_shape);
  return absl::OkStatus();
}

absl::StatusOr<RequestId> LlmEngine::Queue(AnswerPtr answer) {
  if (draining_) return absl::UnavailableError("the server is shutting down; try another one");
  const RequestId id = next_id_++;
  if (absl::Status status = scheduler_.Add(id, answer->shape()); !status.ok()) {
    if (!absl::StartsWith(status.message(), Scheduler::kNeverFits)) return status;
    return absl::ResourceExhaustedError(absl::StrCat(
        status.message(), ": lower max_tokens, shorten the prompt, or raise --kv-memory-mb"));
  }
  if (TooLate(id, answer->request().deadline, parts_.now())) {
    const double seconds = scheduler_.RemainingSeconds(id);
    scheduler_.Remove(id);
    return absl::DeadlineExceededError(absl::StrFormat(
        "the deadline cannot be met: reading the prompt takes about %.1f s", seconds));
  }
  answers_.emplace(id, std::move(answer));
  ++open_;
  return id;
}

bool LlmEngine::TooLate(RequestId id, absl::Time deadline, absl::Time now) const {
  if (deadline <= now) return true;
  if (deadline == absl::InfiniteFuture() || !scheduler_.knows_times() ||
      scheduler_.phase(id) != SequencePhase::kWaiting) {
    return false;
  }
  return now + absl::Seconds(scheduler_.RemainingSeconds(id) / 2) >= deadline;
}

void LlmEngine::Cancel(RequestId id) {
  absl::MutexLock lock(&mutex_);
  if (answers_.count(id)) cancelled_.push_back(id);
}

void LlmEngine::Drain(absl::Duration grace) {
  absl::MutexLock lock(&mutex_);
  draining_ = true;
  // At once, whatever step they are in: nobody gets their blocks before the next plan. The step
  // thread then sees to the rest of them.
  for (const auto& [id, unused] : canaries_) scheduler_.Remove(id);
  const auto empty = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return open_ == 0; };
  if (mutex_.AwaitWithTimeout(absl::Condition(&empty), grace)) return;
  abandon_ = true;
  mutex_.Await(absl::Condition(&empty));
}

absl::Duration LlmEngine::RetryAfter() const {
  absl::MutexLock lock(&mutex_);
  return scheduler_.TimeToDrain();
}

EngineLoad LlmEngine::load() const {
  absl::MutexLock lock(&mutex_);
  const Scheduler::Load l = scheduler_.load();
  EngineLoad load;
  load.waiting = l.waiting;
  load.prefilling = l.prefilling;
  load.decoding = l.decoding;
  load.kv_blocks_used = l.blocks_used;
  load.kv_blocks_reserved = l.blocks_reserved;
  load.kv_blocks_total = l.blocks_total;
  load.kv_blocks_cached = l.blocks_cached;
  load.prefix_tokens = l.prefix_tokens;
  load.prefix_evictions = l.prefix_evictions;
  load.preemptions = preemptions_;
  for (const auto& [name, prefix] : prefixes_) load.prefixes += prefix.read ? 1 : 0;
  load.kv_blocks_by_layer = l.blocks_by_layer;
  load.draining = draining_;
  load.fallbacks = guard_.Fallbacks(parts_.now());
  return load;
}

// As asked, or by a gentler level while the one asked for has fallen back.
absl::StatusOr<ResolvedSkip> LlmEngine::Resolve(const GenerateRequest& request,
                                                absl::Time now) const {
  const int64_t tokens = static_cast<int64_t>(request.prompt.size());
  ASSIGN_OR_RETURN(ResolvedSkip asked, parts_.levels->Resolve(request.skip, tokens));
  const LevelGuard::Served served = guard_.Serve(asked.level, now);
  if (served.level == asked.level) return asked;
  SkipRequest gentler;
  gentler.mode = SkipRequest::Mode::kLevel;
  gentler.level = served.level;
  ASSIGN_OR_RETURN(ResolvedSkip skip, parts_.levels->Resolve(gentler, tokens));
  skip.reason =
      skip.reason.empty() ? served.reason : absl::StrCat(served.reason, "; ", skip.reason);
  return skip;
}

// All that the scheduler has to know of a request: KV need and work follow from the plan.
SequenceShape LlmEngine::Shape(const ResolvedSkip& skip, int64_t max_tokens) const {
  const int32_t layers = parts_.info.config.layers;
  SequenceShape shape;
  shape.prompt_tokens = skip.plan.prompt_tokens;
  shape.max_new_tokens = max_tokens;
  shape.trunk_layers = skip.plan.trunk_layers;
  for (const LayerPlan& layer : skip.plan.layers) shape.kv_prompt_tokens.push_back(layer.active);
  for (int32_t i = shape.trunk_layers; i < layers; ++i) {
    shape.skip_layers.push_back(parts_.levels->Work(skip, i));
  }
  if (shape.trunk_layers == 0) return shape;
  const SkipLayer whole = parts_.levels->Work(skip, 0);
  shape.trunk_flops_per_token = whole.attention_flops_per_row + whole.ffn_flops_per_row;
  shape.trunk_flops_per_pair = whole.attention_flops_per_pair;
  return shape;
}

absl::StatusOr<SequenceShape> LlmEngine::Shape(const GenerateRequest& request,
                                               const ResolvedSkip& skip, int64_t max_tokens) const {
  SequenceShape shape = Shape(skip, max_tokens);
  shape.priority = request.priority;
  shape.client = request.client;
  if (parts_.prefix_cache) {
    ASSIGN_OR_RETURN(shape.prefix_keys, PrefixKeys(request.prompt, shape.trunk_layers,
                                                   {request.tenant, request.cache_salt},
                                                   parts_.scheduler.block_tokens));
  }
  return shape;
}

// --- the step thread
// ------------------------------------------------------------------------------------------------

void LlmEngine::Loop() {
  while (true) {
    Step step;
    std::vector<Ended> ended;
    {
      absl::MutexLock lock(&mutex_);
      const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return HasWork(); };
      mutex_.Await(absl::Condition(&ready));
      if (stopping_ && answers_.empty() && canaries_.empty()) return;
      ended = TakeEnded(parts_.now());
      step = PlanStep(parts_.now());
    }
    TellRetries(parts_.now());
    for (SequenceId id : step.dropped) {
      EndCanary(id, CanaryEvent::Outcome::kDropped,
                step.draining ? "the server is shutting down" : "a request needed its memory");
    }
    Finish(std::move(ended));
    Finish(BeginAdmitted(step));
    if (step.canary) {
      RunCanary(step);
    } else if (!step.plan.empty()) {
      Finish(RunStep(step));
    }
  }
}

bool LlmEngine::HasWork() const {
  return stopping_ || (abandon_ && !answers_.empty()) || !cancelled_.empty() ||
         !scheduler_.idle() || !reading_.empty() || (draining_ && !canaries_.empty());
}

// Requests that end before the next step: cancelled, past their deadline, or given up in a drain.
std::vector<LlmEngine::Ended> LlmEngine::TakeEnded(absl::Time now) {
  std::vector<Ended> ended;
  const auto end = [&](RequestId id, absl::Status status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const auto it = answers_.find(id);
    if (it == answers_.end()) return;
    ended.push_back({id, it->second, std::move(status)});
    scheduler_.Remove(id);
    answers_.erase(it);
  };
  TakeRead(now, ended);
  for (RequestId id : std::exchange(cancelled_, {}))
    end(id, absl::CancelledError("cancelled by the client"));
  std::vector<RequestId> late, rest;
  for (const auto& [id, answer] : answers_)
    (TooLate(id, answer->request().deadline, now) ? late : rest).push_back(id);
  for (RequestId id : late) {
    const bool waits = scheduler_.phase(id) == SequencePhase::kWaiting;
    end(id, absl::DeadlineExceededError(
                waits ? "the request has waited too long to be answered before its deadline"
                      : "the request's deadline has passed"));
  }
  if (abandon_) {
    for (RequestId id : rest) end(id, absl::UnavailableError("the server is shutting down"));
  }
  return ended;
}

LlmEngine::Step LlmEngine::PlanStep(absl::Time now) {
  Step step;
  step.plan = scheduler_.Plan(now);
  step.draining = draining_;
  for (SequenceId id : step.plan.preempted) {
    ++preemptions_;
    parts_.executor->Forget(id);
    answers_.at(id)->BeginAgain();
  }
  for (const auto& [id, unused] : canaries_) {
    if (draining_ || absl::c_linear_search(step.plan.dropped, id)) step.dropped.push_back(id);
  }
  const auto add = [&](SequenceId id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    step.tables.emplace(id, scheduler_.tables(id));
    if (const auto canary = canaries_.find(id); canary != canaries_.end()) {
      step.canary_id = id;
      step.canary = canary->second;
      return;
    }
    const AnswerPtr& answer = answers_.at(id);
    step.answers.emplace(id, answer);
    if (parts_.executor->Knows(id)) return;
    Scheduler::Cached cached = scheduler_.cached(id);
    const bool again = answer->admitted();
    if (!again) answer->MarkAdmitted(scheduler_.admitted_at(id), cached.tokens);
    step.admitted.push_back({id, answer, std::move(cached), reading_.count(id) > 0, again});
  };
  for (const DecodeItem& item : step.plan.decodes) add(item.id);
  for (const TrunkItem& item : step.plan.trunks) add(item.id);
  for (const SkipItem& item : step.plan.skips) add(item.id);
  return step;
}

// Gives newly admitted sequences their memory. One that gets none ends, and leaves the step.
std::vector<LlmEngine::Ended> LlmEngine::BeginAdmitted(Step& step) {
  std::vector<Ended> ended;
  for (const Step::Admitted& entry : step.admitted) {
    const RequestId id = entry.id;
    const AnswerPtr& answer = entry.answer;
    Executor::NewSequence sequence;
    sequence.prompt = answer->request().prompt;
    sequence.policy = answer->skip().policy;
    sequence.plan = answer->skip().plan;
    sequence.record_rows = answer->request().row_report;
    sequence.prefix_only = entry.prefix_only;
    sequence.cached = entry.cached;
    absl::Status status = Guarded([&] { return parts_.executor->Begin(id, std::move(sequence)); });
    if (status.ok()) {
      if (!entry.prefix_only && !entry.again) BeginRecord(id, *answer);
      continue;
    }
    std::erase_if(step.plan.trunks, [id](const TrunkItem& item) { return item.id == id; });
    std::erase_if(step.plan.skips, [id](const SkipItem& item) { return item.id == id; });
    step.incomplete = true;
    step.answers.erase(id);  // or a failure of the rest of the step would end it again
    ended.push_back({id, answer, std::move(status)});
    absl::MutexLock lock(&mutex_);
    scheduler_.Remove(id);
    answers_.erase(id);
  }
  return ended;
}

// A step that fails commits nothing and ends only its own requests.
std::vector<LlmEngine::Ended> LlmEngine::RunStep(Step& step) {
  std::vector<Ended> ended;
  const absl::Time begin = parts_.now();
  auto logits = Guarded([&] { return parts_.executor->Run(step.plan, step.tables); });
  const absl::Time now = parts_.now();
  if (!logits.ok()) {
    for (const auto& [id, answer] : step.answers) ended.push_back({id, answer, logits.status()});
  } else {
    for (const SequenceLogits& row : *logits) {
      const AnswerPtr& answer = step.answers.at(row.id);
      if (const std::optional<int32_t> token = answer->ReplayedToken()) {
        parts_.executor->SetNextToken(row.id, *token);
        continue;
      }
      const absl::StatusOr<bool> complete =
          Guarded([&] { return answer->Next(row.logits, sampler_, now); });
      if (complete.ok()) Keep(row.id, *answer, row.logits);
      if (!complete.ok() || *complete) {
        ended.push_back({row.id, answer, complete.status()});
      } else {
        parts_.executor->SetNextToken(row.id, answer->last_token());
      }
    }
  }
  ObserveStep(step.plan, now - begin);
  absl::MutexLock lock(&mutex_);
  if (logits.ok()) {
    scheduler_.Commit(step.plan);
    if (!step.incomplete) scheduler_.Observe(step.plan.work, now - begin);
  }
  for (const Ended& e : ended) {
    scheduler_.Remove(e.id);
    answers_.erase(e.id);
  }
  return ended;
}

void LlmEngine::ObserveStep(const StepPlan& plan, absl::Duration duration) {
  if (!parts_.observer) return;
  int64_t prefill_tokens = 0;
  for (const TrunkItem& item : plan.trunks) {
    if (item.layer_begin == 0) prefill_tokens += item.token_end - item.token_begin;
  }
  parts_.observer->OnStep(duration, static_cast<int64_t>(plan.decodes.size()), prefill_tokens);
}

void LlmEngine::TellRequest(const Answer& answer, const absl::Status& status, absl::Time now) {
  if (!parts_.observer) return;
  RequestTrace trace;
  trace.arrived = answer.submitted();
  trace.shape = answer.shape();
  trace.new_tokens = answer.generated();
  if (answer.generated() > 0) trace.ttft = answer.first_token_at() - answer.submitted();
  trace.total = now - answer.submitted();
  trace.status = status.code();
  {
    absl::MutexLock lock(&mutex_);
    trace.cost = scheduler_.cost().rates();
  }
  parts_.observer->OnRequest(trace);
}

void LlmEngine::Finish(std::vector<Ended> ended) {
  for (Ended& e : ended) {
    const GenerateRequest& request = e.answer->request();
    Report report = PlanReport(e.answer->skip(), *parts_.levels, request.layer_report);
    if (parts_.executor->Knows(e.id)) {
      const PrefillTimes times = parts_.executor->prefill_times(e.id);
      report.trunk = times.trunk;
      report.skipping = times.skipping;
      if (request.row_report) report.rows = parts_.executor->TakeRows(e.id);
      parts_.executor->Forget(e.id);
    }
    const bool ended_well = e.status.ok();
    const absl::Time now = parts_.now();
    TellRequest(*e.answer, e.status, now);
    e.answer->Finish(std::move(e.status), std::move(report), now);
    StartCanary(e.id, *e.answer, ended_well);
    absl::MutexLock lock(&mutex_);
    --open_;
  }
}

}  // namespace skipserve
