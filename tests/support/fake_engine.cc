// See the header.
#include "tests/support/fake_engine.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace skipserve {
namespace {

ModelInfo MakeInfo(const FakeOptions& options) {
  ModelInfo info;
  info.config.architecture = "llama";
  info.config.name = "fake";
  info.config.layers = options.layers;
  info.config.width = 8;
  info.config.ffn_width = 16;
  info.config.heads = 2;
  info.config.kv_heads = 1;
  info.config.head_dim = 4;
  info.config.vocab_size = kFakeVocab;
  info.config.max_positions = options.max_context;
  info.fingerprint = std::string(64, 'f');
  info.dtype = "f32";
  info.kv_dtype = "int8";
  info.backend = "fake";
  info.max_context = options.max_context;
  info.default_max_tokens = 64;
  info.skip_min_prompt = 100;
  info.default_skip_level = "balanced";
  SkipPolicy policy;
  policy.start = 1;
  policy.stage_ends = {2, 3};
  policy.budgets = {0.5, 0.25};
  policy.keeps = {0.5, 0.25};
  policy.probe_layers = {1, 3};
  policy.memory = 0.5;
  // Measured at one length, so that every request that skips has something to expect.
  const LevelFigures figures = {{{2000, 24, 2, 0.25, 0.875, 11, 15}}, {"counting"}, "a fake"};
  info.skip_levels = {
      {"balanced", policy, kFakeFingerprint, {{1024, 1.5, 0.75}, {4096, 2, 0.5}}, figures}};
  return info;
}

}  // namespace

FakeEngine::FakeEngine(FakeOptions options)
    : options_(std::move(options)),
      info_(MakeInfo(options_)),
      tokenizer_(MakeByteTokenizer(options_.add_bos)),
      chat_template_(options_.has_chat_template ? MakeFakeChatTemplate() : nullptr),
      thread_([this] { Run(); }) {}

FakeEngine::~FakeEngine() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
    wake_.Signal();
  }
  thread_.join();
}

absl::Status FakeEngine::Refuse() {
  if (draining_ || stop_) return absl::UnavailableError("the server is shutting down");
  if (!refusals_.empty()) {
    absl::Status status = refusals_.front();
    refusals_.pop_front();
    if (!status.ok()) return status;
  }
  if (static_cast<int64_t>(running_.size()) >= options_.max_queue) {
    return absl::ResourceExhaustedError("the queue is full");
  }
  return absl::OkStatus();
}

RequestId FakeEngine::Start(Running running) {
  running.decoder =
      std::make_unique<StreamDecoder>(*tokenizer_, running.request.skip_special_tokens);
  running.submitted = absl::Now();
  running.next = running.submitted + options_.first_token_delay;
  const RequestId id = next_id_++;
  running_.emplace(id, std::move(running));
  wake_.Signal();
  return id;
}

absl::StatusOr<RequestId> FakeEngine::Submit(GenerateRequest request,
                                             std::shared_ptr<ResponseSink> sink) {
  absl::MutexLock lock(&mutex_);
  if (request.prompt.empty()) return absl::InvalidArgumentError("the prompt is empty");
  if (absl::Status status = Refuse(); !status.ok()) return status;
  requests_.push_back(request);
  Running running;
  running.request = std::move(request);
  running.sink = std::move(sink);
  return Start(std::move(running));
}

bool FakeEngine::HasPrefix(const std::string& tenant, const std::string& name) const {
  return prefixes_.count({tenant, name}) > 0 ||
         std::any_of(running_.begin(), running_.end(), [&](const auto& running) {
           return running.second.prefix.has_value() && running.second.prefix->name == name &&
                  running.second.request.tenant == tenant;
         });
}

absl::StatusOr<RequestId> FakeEngine::ReadPrefix(PrefixRequest request,
                                                 std::shared_ptr<ResponseSink> sink) {
  absl::MutexLock lock(&mutex_);
  if (absl::Status status = Refuse(); !status.ok()) return status;
  if (HasPrefix(request.tenant, request.name))
    return absl::AlreadyExistsError("there is one of that name");
  prefix_requests_.push_back(request);
  Running running;
  PrefixInfo& info = running.prefix.emplace();
  info.name = request.name;
  info.tokens = static_cast<int64_t>(request.tokens.size());
  info.kv_blocks = options_.layers;
  info.trunk_layers = options_.layers;
  info.skip_level = request.skip.mode == SkipRequest::Mode::kLevel ? request.skip.level : "off";
  info.read_at = absl::UnixEpoch() + absl::Seconds(1'700'000'000);
  running.request.prompt = std::move(request.tokens);
  running.request.tenant = std::move(request.tenant);
  running.sink = std::move(sink);
  return Start(std::move(running));
}

std::vector<PrefixInfo> FakeEngine::Prefixes(absl::string_view tenant) const {
  absl::MutexLock lock(&mutex_);
  std::vector<PrefixInfo> infos;
  for (const auto& [name, info] : prefixes_) {
    if (name.first == tenant) infos.push_back(info);
  }
  return infos;
}

absl::Status FakeEngine::DropPrefix(absl::string_view tenant, absl::string_view name) {
  absl::MutexLock lock(&mutex_);
  const auto found = prefixes_.find(std::pair(std::string(tenant), std::string(name)));
  if (found == prefixes_.end()) {
    return absl::NotFoundError(absl::StrCat("there is no prefix named \"", name, "\""));
  }
  prefixes_.erase(found);
  return absl::OkStatus();
}

void FakeEngine::Cancel(RequestId id) {
  absl::MutexLock lock(&mutex_);
  const auto found = running_.find(id);
  if (found == running_.end() || found->second.cancelled) return;
  found->second.cancelled = true;
  ++cancelled_;
  wake_.Signal();
}

void FakeEngine::Drain(absl::Duration grace) {
  absl::MutexLock lock(&mutex_);
  draining_ = true;
  const auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return running_.empty(); };
  mutex_.AwaitWithTimeout(absl::Condition(&idle), grace);
  abandon_ = true;
  wake_.Signal();
  mutex_.Await(absl::Condition(&idle));
}

absl::Duration FakeEngine::RetryAfter() const {
  absl::MutexLock lock(&mutex_);
  return retry_after_;
}

EngineLoad FakeEngine::load() const {
  absl::MutexLock lock(&mutex_);
  EngineLoad load;
  for (const auto& [id, running] : running_) ++(running.made > 0 ? load.decoding : load.waiting);
  load.kv_blocks_used = static_cast<int64_t>(running_.size()) * options_.layers;
  load.kv_blocks_total = 1000;
  load.kv_blocks_cached = 7;
  load.prefix_evictions = 3;
  for (const auto& [name, prefix] : prefixes_) load.prefix_tokens += prefix.tokens;
  load.prefixes = static_cast<int64_t>(prefixes_.size());
  load.kv_blocks_by_layer.assign(options_.layers, static_cast<int64_t>(running_.size()));
  load.draining = draining_;
  load.fallbacks = fallbacks_;
  return load;
}

void FakeEngine::Run() {
  while (true) {
    Events events;
    {
      absl::MutexLock lock(&mutex_);
      if (stop_ && running_.empty()) return;
      events = Step(absl::Now());
      if (events.empty()) wake_.WaitWithDeadline(&mutex_, NextDue());
    }
    for (const auto& event : events) event();
  }
}

FakeEngine::Events FakeEngine::Step(absl::Time now) {
  Events events;
  for (auto it = running_.begin(); it != running_.end();) {
    Running& running = it->second;
    bool ended = false;
    if (const absl::Status status = EndedBy(running, now); !status.ok()) {
      Finish(running, status, FinishReason::kStop, now, events);
      ended = true;
    } else if (!paused_ && running.next <= now) {
      ended = Advance(running, now, events);
    }
    it = ended ? running_.erase(it) : std::next(it);
  }
  return events;
}

absl::Status FakeEngine::EndedBy(const Running& running, absl::Time now) const {
  if (running.cancelled || stop_) return absl::CancelledError("cancelled");
  if (now >= running.request.deadline) {
    return absl::DeadlineExceededError("the deadline has passed");
  }
  if (abandon_) return absl::UnavailableError("the server is shutting down");
  if (options_.fail_after >= 0 && running.made >= options_.fail_after) return options_.fail_status;
  return absl::OkStatus();
}

bool FakeEngine::Advance(Running& running, absl::Time now, Events& events) {
  if (running.prefix.has_value()) {
    prefixes_.emplace(std::pair(running.request.tenant, running.prefix->name), *running.prefix);
    Finish(running, absl::OkStatus(), FinishReason::kStop, now, events);
    return true;
  }
  const StopRules& stop = running.request.stop;
  const int64_t limit = stop.max_tokens > 0 ? stop.max_tokens : info_.default_max_tokens;
  const auto length = static_cast<int64_t>(options_.answer.size());
  if (running.made >= limit || (running.made >= length && !stop.ignore_eos)) {
    const FinishReason reason = running.made >= limit && running.made != length
                                    ? FinishReason::kLength
                                    : FinishReason::kStop;
    Finish(running, absl::OkStatus(), reason, now, events);
    return true;
  }
  TokenEvent event;
  event.id = static_cast<unsigned char>(options_.answer[running.made % length]);
  event.text = running.decoder->Push(event.id);
  if (running.request.logprobs >= 0) {
    event.logprob = -0.5f;
    for (int32_t k = 0; k < running.request.logprobs; ++k) {
      event.top.push_back({(event.id + k) % kFakeVocab, -0.5f - static_cast<float>(k)});
    }
  }
  if (running.made == 0) running.first = now;
  running.last = now;
  running.next = now + options_.token_delay;
  ++running.made;
  ++tokens_;
  events.push_back([sink = running.sink, event] { sink->OnToken(event); });
  return false;
}

void FakeEngine::Finish(Running& running, absl::Status status, FinishReason reason, absl::Time now,
                        Events& events) {
  FinishEvent event;
  event.status = std::move(status);
  event.reason = reason;
  event.text = running.decoder->Finish();
  event.report = MakeReport(running, now);
  events.push_back([sink = running.sink, event] { sink->OnFinish(event); });
}

absl::Time FakeEngine::NextDue() const {
  absl::Time due = absl::InfiniteFuture();
  for (const auto& [id, running] : running_) {
    due = std::min(due, running.request.deadline);
    if (!paused_) due = std::min(due, running.next);
  }
  return due;
}

Report FakeEngine::MakeReport(const Running& running, absl::Time now) const {
  const GenerateRequest& request = running.request;
  const auto prompt = static_cast<int64_t>(request.prompt.size());
  Report report;
  report.prompt_tokens = prompt;
  report.cached_tokens = options_.cached_tokens;
  report.completion_tokens = running.made;
  report.token_layers = prompt * options_.layers;
  report.kv_token_layers = report.token_layers;
  report.total = now - running.submitted;
  if (running.made > 0) {
    report.ttft = report.prefill = report.trunk = running.first - running.submitted;
    if (running.made > 1) {
      report.inter_token_mean = (running.last - running.first) / (running.made - 1);
    }
  }
  report.skip_level = "off";
  const bool skips = request.skip.mode != SkipRequest::Mode::kOff;
  if (skips && prompt < info_.skip_min_prompt) report.skip_reason = "the prompt is short";
  const bool skipped = skips && report.skip_reason.empty();
  if (skipped) {
    report.skip_level =
        request.skip.mode == SkipRequest::Mode::kPolicy ? "custom" : info_.default_skip_level;
    report.policy_fingerprint = kFakeFingerprint;
    report.skip_ratio = report.attention_skip_ratio = report.ffn_skip_ratio = 0.5;
    report.kv_skip_ratio = 0.5;
    report.flop_bound = 2;
    report.kv_token_layers = report.token_layers / 2;
  }
  const LengthFigures& figures = info_.skip_levels[0].figures.lengths[0];
  if (report.skip_level != "custom") {
    report.expected_kl = skipped ? figures.kl : 0;
    report.expected_agreement = skipped ? figures.agreement : 1;
  }
  const int64_t active = skipped ? prompt / 2 : prompt;
  for (int32_t layer = 0; layer < options_.layers; ++layer) {
    if (request.layer_report) report.layers.push_back({prompt, active, active, active});
    if (request.row_report) report.rows.push_back({{0, 1}, {0}});
  }
  return report;
}

}  // namespace skipserve
