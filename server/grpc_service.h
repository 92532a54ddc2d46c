// The RPCs of skipserve.v1 over one engine. Thin: conversion and errors are elsewhere, what is left
// is who calls whom and when. Thread-safe, as gRPC calls it from its own threads.
#pragma once

#include <boost/asio/thread_pool.hpp>
#include <string>

#include "engine/engine.h"
#include "server/metrics.h"
#include "skipserve/v1/skipserve.grpc.pb.h"

namespace skipserve {

class GrpcService final : public v1::SkipServe::CallbackService {
 public:
  // Engine and metrics outlive it. `workers` threads tokenize, so that a long prompt holds up no
  // other client.
  GrpcService(Engine& engine, Metrics& metrics, std::string served_name, int workers);

  grpc::ServerWriteReactor<v1::GenerateResponse>* Generate(
      grpc::CallbackServerContext* context, const v1::GenerateRequest* request) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const v1::TokenizeRequest* request,
                                     v1::TokenizeResponse* response) override;
  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context,
                                       const v1::DetokenizeRequest* request,
                                       v1::DetokenizeResponse* response) override;
  grpc::ServerUnaryReactor* GetModelInfo(grpc::CallbackServerContext* context,
                                         const v1::GetModelInfoRequest* request,
                                         v1::GetModelInfoResponse* response) override;
  grpc::ServerUnaryReactor* GetLoad(grpc::CallbackServerContext* context,
                                    const v1::GetLoadRequest* request,
                                    v1::GetLoadResponse* response) override;

 private:
  Engine& engine_;
  Metrics& metrics_;
  const std::string served_name_;
  boost::asio::thread_pool workers_;
};

}  // namespace skipserve
