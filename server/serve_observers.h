// All that listens to a served engine: its log, its metrics, and its trace where one is asked for.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/status_macros.h"
#include "server/engine_log.h"
#include "server/metrics.h"
#include "server/observers.h"
#include "server/trace.h"

namespace skipserve {

class ServeObservers {
 public:
  // `record_trace`: the trace's file, or "". As TraceFile::Create.
  static absl::StatusOr<std::unique_ptr<ServeObservers>> Create(const std::string& record_trace) {
    std::unique_ptr<TraceFile> trace;
    if (!record_trace.empty()) {
      ASSIGN_OR_RETURN(trace, TraceFile::Create(record_trace));
    }
    return std::unique_ptr<ServeObservers>(new ServeObservers(std::move(trace)));
  }

  Metrics& metrics() { return metrics_; }
  EngineObserver& all() { return all_; }

 private:
  explicit ServeObservers(std::unique_ptr<TraceFile> trace)
      : trace_(std::move(trace)),
        all_(trace_ ? std::vector<EngineObserver*>{&log_, &metrics_, trace_.get()}
                    : std::vector<EngineObserver*>{&log_, &metrics_}) {}

  Metrics metrics_;
  EngineLog log_;
  const std::unique_ptr<TraceFile> trace_;
  Observers all_;
};

}  // namespace skipserve
