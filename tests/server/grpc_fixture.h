// A gRPC server over a fake engine and a real client of it, on a free port of the loopback.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "server/grpc_server.h"
#include "skipserve/v1/skipserve.grpc.pb.h"
#include "tests/support/fake_engine.h"

namespace skipserve {

// Everything that one Generate call gave.
struct Answer {
  grpc::Status status;
  std::vector<v1::TokenChunk> chunks;
  std::vector<v1::Finish> finishes;

  std::string Text(int choice = 0) const {
    std::string text;
    for (const auto& chunk : chunks) {
      if (chunk.choice() == choice) text += chunk.text();
    }
    for (const auto& finish : finishes) {
      if (finish.choice() == choice) text += finish.text();
    }
    return text;
  }
  std::vector<int32_t> Ids(int choice = 0) const {
    std::vector<int32_t> ids;
    for (const auto& chunk : chunks) {
      if (chunk.choice() != choice) continue;
      ids.insert(ids.end(), chunk.token_ids().begin(), chunk.token_ids().end());
    }
    return ids;
  }
};

class GrpcTest : public testing::Test {
 protected:
  void StartServer(FakeOptions options = {}) {
    StartServer(std::make_unique<FakeEngine>(std::move(options)));
  }
  void StartServer(std::unique_ptr<FakeEngine> over) {
    engine = std::move(over);
    GrpcOptions grpc_options = options_;
    grpc_options.served_name = "fake-model";
    grpc_options.model_path = "/models/fake.gguf";
    auto started = GrpcServer::Start(*engine, metrics, grpc_options);
    ASSERT_TRUE(started.ok()) << started.status();
    server = *std::move(started);
    channel = grpc::CreateChannel("127.0.0.1:" + std::to_string(server->port()),
                                  grpc::InsecureChannelCredentials());
    stub = v1::SkipServe::NewStub(channel);
  }

  static v1::GenerateRequest TextRequest(const std::string& text = "What is it?") {
    v1::GenerateRequest request;
    request.set_text(text);
    return request;
  }

  Answer Generate(const v1::GenerateRequest& request,
                  std::chrono::milliseconds deadline = std::chrono::seconds(60)) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + deadline);
    return Collect(*stub->Generate(&context, request));
  }

  static Answer Collect(grpc::ClientReader<v1::GenerateResponse>& reader) {
    Answer answer;
    v1::GenerateResponse response;
    while (reader.Read(&response)) {
      EXPECT_FALSE(response.request_id().empty());
      if (response.has_chunk()) answer.chunks.push_back(response.chunk());
      if (response.has_finish()) answer.finishes.push_back(response.finish());
    }
    answer.status = reader.Finish();
    return answer;
  }

  bool ExposesLine(const std::string& line) const {
    return const_cast<Metrics&>(metrics).Expose(engine->load()).find(line + "\n") !=
           std::string::npos;
  }

  GrpcOptions options_;  // of servers started from now on
  Metrics metrics;
  std::unique_ptr<FakeEngine> engine;
  std::unique_ptr<GrpcServer> server;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::SkipServe::Stub> stub;
};

}  // namespace skipserve
