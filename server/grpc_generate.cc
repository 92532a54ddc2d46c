// The write reactor: a queue that the engine fills and gRPC empties, so that a slow reader never
// holds the engine up.
#include "server/grpc_generate.h"

#include <utility>

#include "absl/time/clock.h"
#include "server/convert_proto.h"
#include "server/grpc_messages.h"
#include "server/status.h"

namespace skipserve {
namespace {

// Well below the 4 MiB that clients take by default, with 20 log-probabilities each.
constexpr int kMaxTokensPerMessage = 64;
// A client gives up at its deadline by its own clock, which may be a little ahead of ours.
constexpr absl::Duration kClocksDiffer = absl::Milliseconds(100);

}  // namespace

GenerateStream::GenerateStream(std::string request_id, absl::Time deadline,
                               std::function<void()> on_done)
    : request_id_(std::move(request_id)), deadline_(deadline), on_done_(std::move(on_done)) {}

std::shared_ptr<GenerateStream> GenerateStream::Create(std::string request_id, absl::Time deadline,
                                                       std::function<void()> on_done) {
  std::shared_ptr<GenerateStream> stream(
      new GenerateStream(std::move(request_id), deadline, std::move(on_done)));
  stream->self_ = stream;
  return stream;
}

void GenerateStream::ExpectChoices(int n) {
  absl::MutexLock lock(&mutex_);
  running_ = n;
}

void GenerateStream::Started(absl::StatusOr<std::shared_ptr<Completion>> completion) {
  bool cancelled = false;
  {
    absl::MutexLock lock(&mutex_);
    if (completion.ok()) {
      completion_ = *completion;
      cancelled = cancelled_;
    } else {
      status_ = completion.status();
      running_ = 0;
      Pump();
    }
  }
  if (cancelled) (*completion)->Cancel();
}

void GenerateStream::OnToken(int choice, TokenEvent event) {
  absl::MutexLock lock(&mutex_);
  // Behind a slow reader, tokens join the message that waits.
  const bool joins = !queue_.empty() && queue_.back().has_chunk() &&
                     queue_.back().chunk().choice() == choice &&
                     queue_.back().chunk().token_ids_size() < kMaxTokensPerMessage;
  v1::TokenChunk* chunk = (joins ? queue_.back() : Push()).mutable_chunk();
  chunk->set_choice(choice);
  AppendToken(std::move(event), chunk);
  Pump();
}

void GenerateStream::OnFinish(int choice, FinishEvent event) {
  absl::MutexLock lock(&mutex_);
  if (event.status.ok()) {
    v1::Finish* finish = Push().mutable_finish();
    finish->set_choice(choice);
    FinishToProto(event, finish);
  } else if (status_.ok()) {
    status_ = event.status;
  }
  --running_;
  Pump();
}

void GenerateStream::OnWriteDone(bool ok) {
  absl::MutexLock lock(&mutex_);
  writing_ = false;
  if (!ok) queue_.clear();  // the client is gone; OnCancel ends the work
  Pump();
}

void GenerateStream::OnCancel() {
  std::shared_ptr<Completion> completion;
  {
    absl::MutexLock lock(&mutex_);
    // The engine keeps the deadline itself, and says so.
    if (absl::Now() >= deadline_ - kClocksDiffer) return;
    cancelled_ = true;
    completion = completion_;
  }
  if (completion != nullptr) completion->Cancel();
}

void GenerateStream::OnDone() {
  // gRPC has seen OnCancel return; the thread sanitizer, which does not see into gRPC, is told so.
  mutex_.Lock();
  mutex_.Unlock();
  on_done_();
  self_.reset();
}

v1::GenerateResponse& GenerateStream::Push() {
  v1::GenerateResponse& message = queue_.emplace_back();
  message.set_request_id(request_id_);
  return message;
}

void GenerateStream::Pump() {
  if (writing_ || finished_) return;
  if (!queue_.empty()) {
    writing_ = true;
    written_ = ToBytes(queue_.front());
    queue_.pop_front();
    StartWrite(&written_);
  } else if (running_ == 0) {
    finished_ = true;
    Finish(ToGrpcStatus(status_));
  }
}

}  // namespace skipserve
