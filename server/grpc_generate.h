// One Generate call: the engine's events in, the client's stream out. Not the reading of its
// request. Its methods are called from the engine's thread and from gRPC's.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "grpcpp/support/server_callback.h"
#include "server/completion.h"
#include "skipserve/v1/skipserve.pb.h"

namespace skipserve {

class GenerateStream final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                             public CompletionListener {
 public:
  // Lives until gRPC is done with the call, when it calls `on_done`, and as long as the engine
  // knows of it.
  static std::shared_ptr<GenerateStream> Create(std::string request_id, absl::Time deadline,
                                                std::function<void()> on_done);

  // What Completion::Start said: cancelled with the call from now on, or the call ends with the
  // error.
  void Started(absl::StatusOr<std::shared_ptr<Completion>> completion);
  // Before Start: how many OnFinish will come.
  void ExpectChoices(int n);

  void OnToken(int choice, TokenEvent event) override;
  void OnFinish(int choice, FinishEvent event) override;

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  GenerateStream(std::string request_id, absl::Time deadline, std::function<void()> on_done);
  v1::GenerateResponse& Push() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Writes the next message, or ends the call after the last.
  void Pump() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string request_id_;
  const absl::Time deadline_;
  const std::function<void()> on_done_;
  std::shared_ptr<GenerateStream> self_;  // until OnDone

  absl::Mutex mutex_;
  std::deque<v1::GenerateResponse> queue_ ABSL_GUARDED_BY(mutex_);
  grpc::ByteBuffer written_ ABSL_GUARDED_BY(mutex_);  // what gRPC is writing
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  int running_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);  // of the first choice that failed
  std::shared_ptr<Completion> completion_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace skipserve
