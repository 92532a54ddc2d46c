// One ReadPrefix call: it ends when the engine has read the prefix, and the engine stops when the
// call ends before. Not the reading of its request. Its methods are called from the engine's
// thread, gRPC's and the workers'.
#pragma once

#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "server/completion.h"

namespace skipserve {

class PrefixCall final : public grpc::ServerUnaryReactor, public CompletionListener {
 public:
  // Lives until gRPC is done with the call, when it calls `on_done`, and as long as the engine
  // knows of it. `response` is gRPC's, until then.
  static std::shared_ptr<PrefixCall> Create(Engine& engine, boost::asio::thread_pool& workers,
                                            grpc::ByteBuffer* response,
                                            std::function<void()> on_done);

  // One of these, once.
  void Read(Metrics& metrics, CompletionContext about, PrefixRequest request);
  void Refuse(const absl::Status& status);

  void OnToken(int /*choice*/, TokenEvent /*event*/) override {}
  void OnFinish(int choice, FinishEvent event) override;

  void OnCancel() override;
  void OnDone() override;

 private:
  PrefixCall(Engine& engine, boost::asio::thread_pool& workers, grpc::ByteBuffer* response,
             std::function<void()> on_done);
  absl::Status Answer();  // into response_

  Engine& engine_;
  boost::asio::thread_pool& workers_;
  grpc::ByteBuffer* const response_;
  const std::function<void()> on_done_;
  std::string tenant_, name_;         // set before the engine knows of the call
  std::shared_ptr<PrefixCall> self_;  // until OnDone

  absl::Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<RequestId> id_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace skipserve
