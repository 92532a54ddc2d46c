// The trace of a server's life, for simulation: one JSON line of the scheduler's options, then one
// for every request that ended or was refused, in the order of their ends. Arrivals, lengths and
// work; no text, no token, no name of a client, and of what prompts share only which blocks are
// the same: documents, clients and prefixes are numbered as they come.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "engine/engine.h"
#include "spdlog/async_logger.h"

namespace skipserve {

// Writes it, in a thread of its own: a slow disk holds no step up. Thread-safe.
class TraceFile : public EngineObserver {
 public:
  // Overwrites `path`. INVALID_ARGUMENT where it cannot be written.
  static absl::StatusOr<std::unique_ptr<TraceFile>> Create(const std::string& path);
  ~TraceFile() override;  // all lines are in the file then

  void OnOpen(const Scheduler::Options& options) override;
  void OnRequest(const RequestTrace& trace) override;

 private:
  TraceFile(std::shared_ptr<spdlog::details::thread_pool> pool,
            std::shared_ptr<spdlog::async_logger> lines)
      : pool_(std::move(pool)), lines_(std::move(lines)) {}
  int64_t Number(const std::string& client) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  int64_t Number(const PrefixKey& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::shared_ptr<spdlog::details::thread_pool> pool_;
  const std::shared_ptr<spdlog::async_logger> lines_;
  absl::Mutex mutex_;
  absl::Time opened_ ABSL_GUARDED_BY(mutex_);
  std::unordered_map<std::string, int64_t> clients_ ABSL_GUARDED_BY(mutex_);
  std::unordered_map<PrefixKey, int64_t, PrefixKeyHash> keys_ ABSL_GUARDED_BY(mutex_);
  int64_t next_client_ ABSL_GUARDED_BY(mutex_) = 1;  // never given again
  int64_t next_key_ ABSL_GUARDED_BY(mutex_) = 1;     // likewise
};

struct Trace {
  Scheduler::Options options;
  std::vector<RequestTrace> requests;  // by arrival; the server opened at the Unix epoch
};

// NOT_FOUND, or INVALID_ARGUMENT with the line that is no trace's. A last line that was cut off, as
// by kill -9, is left out.
absl::StatusOr<Trace> ReadTrace(const std::string& path);

// Sets one of the options by its name in the trace, to a number or true or false as text.
// INVALID_ARGUMENT.
absl::Status SetOption(absl::string_view name, absl::string_view value,
                       Scheduler::Options& options);

}  // namespace skipserve
