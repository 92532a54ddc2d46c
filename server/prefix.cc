// See the header.
#include "server/prefix.h"

#include <exception>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/log.h"
#include "server/status.h"

namespace skipserve {
namespace {

class PrefixSink : public ResponseSink {
 public:
  PrefixSink(Metrics& metrics, CompletionContext context,
             std::shared_ptr<CompletionListener> listener)
      : metrics_(metrics), context_(std::move(context)), listener_(std::move(listener)) {}

  void OnToken(TokenEvent /*event*/) override {}

  void OnFinish(FinishEvent event) override {
    if (event.status.ok()) {
      CountRead(event.report);
    } else {
      CountRefused(metrics_, context_, event.status, event.report.total);
    }
    listener_->OnFinish(0, std::move(event));
    listener_.reset();
  }

 private:
  void CountRead(const Report& report) {
    metrics_.CallEnded(context_.endpoint, absl::OkStatus());
    LogEvent(spdlog::level::info, {{"event", "request"},
                                   {"id", context_.id},
                                   {"endpoint", context_.endpoint},
                                   {"outcome", std::string(OutcomeLabel(absl::OkStatus()))},
                                   {"prompt_tokens", report.prompt_tokens},
                                   {"cached_tokens", report.cached_tokens},
                                   {"total_seconds", absl::ToDoubleSeconds(report.total)},
                                   {"skip_level", report.skip_level}});
  }

  Metrics& metrics_;
  const CompletionContext context_;
  std::shared_ptr<CompletionListener> listener_;
};

}  // namespace

absl::StatusOr<RequestId> StartPrefix(Engine& engine, Metrics& metrics, PrefixRequest request,
                                      CompletionContext context,
                                      std::shared_ptr<CompletionListener> listener) {
  const absl::Time begun = absl::Now();
  absl::StatusOr<RequestId> id;
  try {
    id = engine.ReadPrefix(std::move(request),
                           std::make_shared<PrefixSink>(metrics, context, std::move(listener)));
  } catch (const std::exception& error) {
    id = StatusFromException(error, context.endpoint);
  }
  if (!id.ok()) CountRefused(metrics, context, id.status(), absl::Now() - begun);
  return id;
}

absl::StatusOr<PrefixInfo> FindPrefix(const Engine& engine, absl::string_view tenant,
                                      absl::string_view name) {
  for (PrefixInfo& info : engine.Prefixes(tenant)) {
    if (info.name == name) return std::move(info);
  }
  return absl::NotFoundError(absl::StrCat("there is no prefix named \"", name, "\""));
}

}  // namespace skipserve
