// Names, help texts and buckets; see the header.
#include "server/metrics.h"

#include <sstream>

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
  prometheus::Histogram& step = AddHistogram(registry, "skipserve_step_duration_seconds",
                                             "One step of the engine, seconds.", StepBuckets());
  prometheus::Histogram& skip_ratio =
      AddHistogram(registry, "skipserve_skip_ratio",
                   "Share of a prompt's prefill FLOPs that skipping saved; 0 is dense.",
                   {0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9});
};

Metrics::Metrics() : series_(std::make_unique<Series>()) {}
Metrics::~Metrics() = default;

void Metrics::CallEnded(absl::string_view endpoint, const absl::Status& status,
                        absl::Duration total) {
  series_->calls
      .Add({{"outcome", std::string(OutcomeLabel(status))}, {"endpoint", std::string(endpoint)}})
      .Increment();
  if (status.ok()) series_->e2e.Observe(absl::ToDoubleSeconds(total));
}

void Metrics::PromptRead(int64_t tokens) {
  series_->prompt_tokens.Increment(static_cast<double>(tokens));
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

void Metrics::TokenGap(absl::Duration gap) {
  series_->inter_token.Observe(absl::ToDoubleSeconds(gap));
}

void Metrics::OnStep(absl::Duration duration, int64_t /*decode_tokens*/,
                     int64_t /*prefill_tokens*/) {
  // The step's tokens are those of the answers, which are counted when they end.
  series_->step.Observe(absl::ToDoubleSeconds(duration));
}

std::string Metrics::Expose(const EngineLoad& load) {
  series_->queued.Set(static_cast<double>(load.waiting));
  series_->running.Set(static_cast<double>(load.prefilling + load.decoding));
  series_->kv_used.Set(static_cast<double>(load.kv_blocks_used));
  series_->kv_reserved.Set(static_cast<double>(load.kv_blocks_reserved));
  series_->kv_total.Set(static_cast<double>(load.kv_blocks_total));
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, series_->registry.Collect());
  return out.str();
}

}  // namespace skipserve
