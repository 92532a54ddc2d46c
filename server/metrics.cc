// Names, help texts and buckets; see the header.
#include "server/metrics.h"

#include <algorithm>
#include <map>
#include <sstream>

#include "absl/algorithm/container.h"
#include "prometheus/counter.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"
#include "prometheus/text_serializer.h"
#include "server/status.h"

namespace skipserve {
namespace {

using Buckets = prometheus::Histogram::BucketBoundaries;

prometheus::Counter& AddCounter(prometheus::Registry& registry, const char* name,
                                const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add({});
}

prometheus::Gauge& AddGauge(prometheus::Registry& registry, const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add({});
}

prometheus::Histogram& AddHistogram(prometheus::Registry& registry, const char* name,
                                    const char* help, const Buckets& buckets) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add({}, buckets);
}

// A long prompt takes seconds to minutes on a CPU, a short one milliseconds on a GPU.
const Buckets& WaitBuckets() {
  static const Buckets buckets = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,
                                  2.5,   5,    10,    20,   40,  80,   160, 320};
  return buckets;
}

const Buckets& StepBuckets() {
  static const Buckets buckets = {0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05,
                                  0.075, 0.1,    0.15,  0.25, 0.5,  1,    2.5};
  return buckets;
}

// In nats per token: around 0.01 nobody can tell; beyond 1 the answers are different ones.
const Buckets& KlBuckets() {
  static const Buckets buckets = {0.001, 0.003, 0.01, 0.03, 0.06, 0.125, 0.25, 0.5, 1, 2, 4, 8};
  return buckets;
}

const char* OutcomeName(CanaryEvent::Outcome outcome) {
  switch (outcome) {
    case CanaryEvent::Outcome::kMeasured:
      return "measured";
    case CanaryEvent::Outcome::kDropped:
      return "dropped";
    case CanaryEvent::Outcome::kFailed:
      return "failed";
  }
  return "";
}

}  // namespace

struct Metrics::Series {
  prometheus::Registry registry;
  prometheus::Family<prometheus::Counter>& calls =
      prometheus::BuildCounter()
          .Name("skipserve_requests_total")
          .Help("Calls ended, by outcome and endpoint.")
          .Register(registry);
  prometheus::Gauge& queued =
      AddGauge(registry, "skipserve_requests_queued", "Answers that wait for room in the engine.");
  prometheus::Gauge& running = AddGauge(registry, "skipserve_requests_running",
                                        "Answers that read their prompt or generate.");
  prometheus::Counter& prompt_tokens = AddCounter(registry, "skipserve_prompt_tokens_total",
                                                  "Tokens of accepted prompts, once per call.");
  prometheus::Counter& cached_tokens = AddCounter(
      registry, "skipserve_prompt_cached_tokens_total",
      "Of the tokens of prompts, those found in the prefix cache, of answers that ended.");
  prometheus::Counter& generated_tokens = AddCounter(registry, "skipserve_generated_tokens_total",
                                                     "Tokens generated, of answers that ended.");
  prometheus::Counter& token_layers =
      AddCounter(registry, "skipserve_prompt_token_layers_total",
                 "Prompt tokens times layers, of answers that ended: what dense would compute.");
  prometheus::Counter& skipped_token_layers = AddCounter(
      registry, "skipserve_skipped_token_layers_total",
      "Prompt token-layers neither computed nor cached thanks to skipping, of answers that ended.");
  prometheus::Histogram& ttft =
      AddHistogram(registry, "skipserve_ttft_seconds",
                   "Submission to the first token of an answer, seconds.", WaitBuckets());
  prometheus::Histogram& inter_token = AddHistogram(
      registry, "skipserve_inter_token_seconds",
      "Between two tokens of one answer, as given to the front end, seconds.", StepBuckets());
  prometheus::Histogram& queue =
      AddHistogram(registry, "skipserve_queue_seconds",
                   "Wait of an answer before its prompt is read, seconds.", WaitBuckets());
  prometheus::Histogram& e2e = AddHistogram(
      registry, "skipserve_e2e_seconds",
      "Submission to the end of the last answer, of calls that succeeded, seconds.", WaitBuckets());
  prometheus::Gauge& kv_used = AddGauge(registry, "skipserve_kv_blocks_used",
                                        "KV blocks in use; each holds tokens of one layer.");
  prometheus::Gauge& kv_reserved =
      AddGauge(registry, "skipserve_kv_blocks_reserved", "KV blocks promised to running answers.");
  prometheus::Gauge& kv_total =
      AddGauge(registry, "skipserve_kv_blocks_total", "KV blocks in the pool.");
  prometheus::Gauge& kv_cached =
      AddGauge(registry, "skipserve_kv_blocks_cached",
               "KV blocks of cached prefixes that nobody uses: free to whoever needs them.");
  prometheus::Gauge& prefix_tokens =
      AddGauge(registry, "skipserve_prefix_cache_tokens", "Tokens in the prefix cache.");
  prometheus::Counter& prefix_evictions =
      AddCounter(registry, "skipserve_prefix_cache_evicted_blocks_total",
                 "Blocks of tokens that left the prefix cache for others.");
  prometheus::Counter& preemptions =
      AddCounter(registry, "skipserve_preemptions_total",
                 "Running answers that gave up their KV blocks to others and began again.");
  prometheus::Gauge& prefixes =
      AddGauge(registry, "skipserve_prefixes", "Prefixes read ahead and kept under a name.");
  prometheus::Histogram& step = AddHistogram(registry, "skipserve_step_duration_seconds",
                                             "One step of the engine, seconds.", StepBuckets());
  prometheus::Histogram& skip_ratio =
      AddHistogram(registry, "skipserve_skip_ratio",
                   "Share of a prompt's prefill FLOPs that skipping saved; 0 is dense.",
                   {0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9});
  prometheus::Family<prometheus::Counter>& canaries =
      prometheus::BuildCounter()
          .Name("skipserve_canary_total")
          .Help(
              "Requests that skipped and were chosen to be run again densely, by level and "
              "outcome.")
          .Register(registry);
  prometheus::Family<prometheus::Histogram>& canary_kl =
      prometheus::BuildHistogram()
          .Name("skipserve_canary_kl")
          .Help("KL(dense || skipping) of a canary, nats per token, by level.")
          .Register(registry);
  prometheus::Family<prometheus::Counter>& canary_tokens =
      prometheus::BuildCounter()
          .Name("skipserve_canary_tokens_total")
          .Help("Tokens that canaries compared, by level.")
          .Register(registry);
  prometheus::Family<prometheus::Counter>& canary_agreeing =
      prometheus::BuildCounter()
          .Name("skipserve_canary_agreeing_tokens_total")
          .Help("Of these, tokens where dense and skipping prefer the same, by level.")
          .Register(registry);
  prometheus::Family<prometheus::Counter>& fallbacks =
      prometheus::BuildCounter()
          .Name("skipserve_level_fallbacks_total")
          .Help("Times a level fell back to a gentler one, its canaries being too far from dense.")
          .Register(registry);
  prometheus::Family<prometheus::Gauge>& fallen =
      prometheus::BuildGauge()
          .Name("skipserve_level_fallback")
          .Help("1 while a level is served by a gentler one; 0 for others that had a canary.")
          .Register(registry);
};

Metrics::Metrics() : series_(std::make_unique<Series>()) {}
Metrics::~Metrics() = default;

void Metrics::CallEnded(absl::string_view endpoint, const absl::Status& status) {
  series_->calls
      .Add({{"outcome", std::string(OutcomeLabel(status))}, {"endpoint", std::string(endpoint)}})
      .Increment();
}

void Metrics::CallEnded(absl::string_view endpoint, const absl::Status& status,
                        absl::Duration total) {
  CallEnded(endpoint, status);
  if (status.ok()) series_->e2e.Observe(absl::ToDoubleSeconds(total));
}

void Metrics::PromptRead(int64_t tokens) {
  series_->prompt_tokens.Increment(static_cast<double>(tokens));
}

void Metrics::PromptCached(int64_t tokens) {
  series_->cached_tokens.Increment(static_cast<double>(tokens));
}

void Metrics::AnswerEnded(const Report& report) {
  series_->generated_tokens.Increment(static_cast<double>(report.completion_tokens));
  // Without a first token the prompt was not wholly read, and the report's figures are not final.
  if (report.completion_tokens == 0) return;
  series_->token_layers.Increment(static_cast<double>(report.token_layers));
  series_->skipped_token_layers.Increment(
      static_cast<double>(report.token_layers - report.kv_token_layers));
  series_->ttft.Observe(absl::ToDoubleSeconds(report.ttft));
  series_->queue.Observe(absl::ToDoubleSeconds(report.queue));
  series_->skip_ratio.Observe(report.skip_ratio);
}

void Metrics::TokenGap(absl::Duration gap, absl::Time now) {
  recent_gaps_.Add(gap, now);
  series_->inter_token.Observe(absl::ToDoubleSeconds(gap));
}

void Metrics::OnStep(absl::Duration duration, int64_t /*decode_tokens*/,
                     int64_t /*prefill_tokens*/) {
  // The step's tokens are those of the answers, which are counted when they end.
  series_->step.Observe(absl::ToDoubleSeconds(duration));
}

void Metrics::OnCanary(const CanaryEvent& event) {
  const std::map<std::string, std::string> level = {{"level", event.level}};
  series_->canaries.Add({{"level", event.level}, {"outcome", OutcomeName(event.outcome)}})
      .Increment();
  if (event.outcome != CanaryEvent::Outcome::kMeasured) return;
  series_->canary_kl.Add(level, KlBuckets()).Observe(event.kl);
  series_->canary_tokens.Add(level).Increment(static_cast<double>(event.tokens));
  series_->canary_agreeing.Add(level).Increment(static_cast<double>(event.agreeing));
  // So that its gauge is there, at 0, before anything is wrong.
  if (event.level == "custom") return;  // policies of the callers' own never fall back
  absl::MutexLock lock(&mutex_);
  levels_.insert(event.level);
}

void Metrics::OnLevelChange(const LevelChange& change) {
  if (change.kind != LevelChange::Kind::kFellBack) return;
  series_->fallbacks.Add({{"level", change.level.level}}).Increment();
}

std::string Metrics::Expose(const EngineLoad& load) {
  series_->queued.Set(static_cast<double>(load.waiting));
  series_->running.Set(static_cast<double>(load.prefilling + load.decoding));
  series_->kv_used.Set(static_cast<double>(load.kv_blocks_used));
  series_->kv_reserved.Set(static_cast<double>(load.kv_blocks_reserved));
  series_->kv_total.Set(static_cast<double>(load.kv_blocks_total));
  series_->kv_cached.Set(static_cast<double>(load.kv_blocks_cached));
  series_->prefix_tokens.Set(static_cast<double>(load.prefix_tokens));
  series_->prefixes.Set(static_cast<double>(load.prefixes));
  absl::MutexLock lock(&mutex_);
  // The engine counts these itself; of two loads the older may come last.
  const auto raise = [](prometheus::Counter& counter, int64_t to) {
    counter.Increment(std::max(0.0, static_cast<double>(to) - counter.Value()));
  };
  raise(series_->prefix_evictions, load.prefix_evictions);
  raise(series_->preemptions, load.preemptions);
  for (const LevelFallback& fallback : load.fallbacks) levels_.insert(fallback.level);
  for (const std::string& level : levels_) {
    const bool fallen = absl::c_any_of(
        load.fallbacks, [&](const LevelFallback& fallback) { return fallback.level == level; });
    series_->fallen.Add({{"level", level}}).Set(fallen ? 1 : 0);
  }
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, series_->registry.Collect());
  return out.str();
}

}  // namespace skipserve
