// One call of a client that reads a prefix ahead of its questions: what gRPC and HTTP share of it.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/engine.h"
#include "server/completion.h"
#include "server/metrics.h"

namespace skipserve {

// The engine reads it from now on; the listener's one event is an OnFinish of choice 0. On an error
// it is never called. Either end is counted in `metrics` and written to the log, once.
absl::StatusOr<RequestId> StartPrefix(Engine& engine, Metrics& metrics, PrefixRequest request,
                                      CompletionContext context,
                                      std::shared_ptr<CompletionListener> listener);

// What is kept under this name. NOT_FOUND.
absl::StatusOr<PrefixInfo> FindPrefix(const Engine& engine, absl::string_view tenant,
                                      absl::string_view name);

}  // namespace skipserve
