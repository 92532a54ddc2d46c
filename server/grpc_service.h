// The RPCs of skipserve.v1 over one engine. Thin: conversion and errors are elsewhere, what is left
// is who calls whom and when. Thread-safe, as gRPC calls it from its own threads.
#pragma once

#include <boost/asio/thread_pool.hpp>
#include <functional>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "engine/engine.h"
#include "server/grpc_server.h"
#include "server/metrics.h"
#include "skipserve/v1/skipserve.grpc.pb.h"

namespace skipserve {

// Requests of substance are read from their bytes; see grpc_messages.h.
using GrpcServiceBase = v1::SkipServe::WithRawCallbackMethod_Generate<
    v1::SkipServe::WithRawCallbackMethod_Tokenize<v1::SkipServe::WithRawCallbackMethod_Detokenize<
        v1::SkipServe::WithCallbackMethod_GetModelInfo<v1::SkipServe::WithCallbackMethod_GetLoad<
            v1::SkipServe::WithRawCallbackMethod_ReadPrefix<
                v1::SkipServe::WithCallbackMethod_ListPrefixes<
                    v1::SkipServe::WithRawCallbackMethod_DropPrefix<v1::SkipServe::Service>>>>>>>>;

class GrpcService final : public GrpcServiceBase {
 public:
  // Engine and metrics outlive it. `options.worker_threads` threads tokenize, so that a long prompt
  // holds up no other client.
  GrpcService(Engine& engine, Metrics& metrics, const GrpcOptions& options);

  // Until no call of ours is open; false where some still are after `timeout`.
  bool AwaitIdle(absl::Duration timeout);

  grpc::ServerWriteReactor<grpc::ByteBuffer>* Generate(grpc::CallbackServerContext* context,
                                                       const grpc::ByteBuffer* request) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* GetModelInfo(grpc::CallbackServerContext* context,
                                         const v1::GetModelInfoRequest* request,
                                         v1::GetModelInfoResponse* response) override;
  grpc::ServerUnaryReactor* GetLoad(grpc::CallbackServerContext* context,
                                    const v1::GetLoadRequest* request,
                                    v1::GetLoadResponse* response) override;
  grpc::ServerUnaryReactor* ReadPrefix(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* ListPrefixes(grpc::CallbackServerContext* context,
                                         const v1::ListPrefixesRequest* request,
                                         v1::ListPrefixesResponse* response) override;
  grpc::ServerUnaryReactor* DropPrefix(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override;

 private:
  using Answer = absl::StatusOr<grpc::ByteBuffer>;
  using AnswerTo = std::function<Answer(const std::string& client)>;

  // Counts a call as open until the function that it gives is called.
  std::function<void()> Open();
  // Answers a unary call of a client by its key, on a worker or on gRPC's own thread.
  grpc::ServerUnaryReactor* AnswerOnWorker(grpc::CallbackServerContext* context,
                                           grpc::ByteBuffer* response, AnswerTo answer);
  grpc::ServerUnaryReactor* AnswerAtOnce(
      grpc::CallbackServerContext* context,
      const std::function<void(const std::string& client)>& answer);

  Engine& engine_;
  Metrics& metrics_;
  const GrpcOptions options_;
  absl::Mutex mutex_;
  int open_ ABSL_GUARDED_BY(mutex_) = 0;
  boost::asio::thread_pool workers_;
};

}  // namespace skipserve
