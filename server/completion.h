// One call of a client: n answers to each of its prompts, as so many engine requests with one
// listener. Shared by gRPC and HTTP, and the one place where calls are counted and logged.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/engine.h"
#include "server/metrics.h"

namespace skipserve {

// Called from the engine's step thread; must return at once. `choice` counts from 0: the first
// prompt's answers, then the next one's.
class CompletionListener {
 public:
  virtual ~CompletionListener() = default;
  virtual void OnToken(int choice, TokenEvent event) = 0;
  virtual void OnFinish(int choice, FinishEvent event) = 0;  // once per choice, last
};

struct CompletionContext {
  std::string id;        // given to the client and to the log
  std::string endpoint;  // "grpc", "grpc/ReadPrefix" or the HTTP path, for metrics and log
};

struct CompletionRequest {
  GenerateRequest generate;                   // of every answer; its prompt is one of these:
  std::vector<std::vector<int32_t>> prompts;  // token ids
  int n = 1;                                  // answers to each prompt
};

class Completion {
 public:
  // Submits all choices, or none: where one is refused, those before it are cancelled and the error
  // is returned, and the listener is never called. Counts the outcome in `metrics` and writes one
  // log line when the last choice ends.
  static absl::StatusOr<std::shared_ptr<Completion>> Start(
      Engine& engine, Metrics& metrics, CompletionRequest request, CompletionContext context,
      std::shared_ptr<CompletionListener> listener);

  // The client is gone: cancels what still runs. Any thread, any number of times.
  void Cancel();

 private:
  explicit Completion(Engine& engine) : engine_(engine) {}
  Engine& engine_;
  std::vector<RequestId> ids_;
};

// Counts and logs a call that failed and never had answers: it was refused before it came to Start,
// or was to read a prefix.
void CountRefused(Metrics& metrics, const CompletionContext& context, const absl::Status& status,
                  absl::Duration total);

// "kind-" and 16 random hex digits.
std::string NewCallId(absl::string_view kind);

// For sampling, where a request does not name one.
uint64_t NewSeed();

}  // namespace skipserve
