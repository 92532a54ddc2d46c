// One call of a client: n answers to one prompt, as n engine requests with one listener. Shared by
// gRPC and HTTP, and the one place where requests are counted and logged.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "server/metrics.h"

namespace skipserve {

// Called from the engine's step thread; must return at once. `choice` counts from 0.
class CompletionListener {
 public:
  virtual ~CompletionListener() = default;
  virtual void OnToken(int choice, TokenEvent event) = 0;
  virtual void OnFinish(int choice, FinishEvent event) = 0;  // once per choice, last
};

struct CompletionContext {
  std::string id;        // given to the client and to the log
  std::string endpoint;  // "grpc" or the HTTP path, for metrics and log
};

class Completion {
 public:
  // Submits all choices, or none: where one is refused, those before it are cancelled and the error
  // is returned, and the listener is never called. Counts the outcome in `metrics` and writes one
  // log line when the last choice ends.
  static absl::StatusOr<std::shared_ptr<Completion>> Start(
      Engine& engine, Metrics& metrics, GenerateRequest request, int n, CompletionContext context,
      std::shared_ptr<CompletionListener> listener);

  // The client is gone: cancels what still runs. Any thread, any number of times.
  void Cancel();

 private:
  Completion() = default;
  Engine* engine_ = nullptr;
  std::vector<RequestId> ids_;
};

}  // namespace skipserve
