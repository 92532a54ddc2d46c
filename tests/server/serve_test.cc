// From ready to drained, both doors open over one engine; and the log's two forms.
#include "server/serve.h"

#include <sstream>
#include <thread>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "server/log.h"
#include "skipserve/v1/skipserve.grpc.pb.h"
#include "tests/support/fake_engine.h"

namespace skipserve {
namespace {

using testing::HasSubstr;

ServeOptions FreePorts() {
  ServeOptions options;
  options.grpc_port = 0;
  options.http_port = 0;
  options.drain_seconds = 60;
  return options;
}

std::string GrpcAddress(const std::string& printed) {
  const size_t at = printed.find("grpc://") + 7;
  return printed.substr(at, printed.find('\n', at) - at);
}

TEST(ServeTest, PrintsItsAddressesServesAndLetsRunningAnswersEnd) {
  FakeEngine engine;
  engine.Pause();
  Metrics metrics;
  std::ostringstream out;
  absl::Notification ready, stop;
  absl::Status served;
  std::thread server([&] {
    served = ServeEngine(engine, metrics, "/models/tiny.gguf", FreePorts(), out, [&] {
      ready.Notify();
      stop.WaitForNotification();
    });
  });
  ready.WaitForNotification();
  EXPECT_THAT(out.str(), HasSubstr("SkipServe is ready: tiny"));
  EXPECT_THAT(out.str(), HasSubstr("http://127.0.0.1:"));
  const auto channel =
      grpc::CreateChannel(GrpcAddress(out.str()), grpc::InsecureChannelCredentials());
  const auto stub = v1::SkipServe::NewStub(channel);
  v1::GenerateRequest request;
  request.set_text("hello");
  request.set_model("tiny");
  grpc::ClientContext context;
  const auto reader = stub->Generate(&context, request);
  ASSERT_TRUE(engine.WaitForRequests(1));

  stop.Notify();
  while (!engine.load().draining) std::this_thread::yield();
  {
    grpc::ClientContext late_context;
    const auto late = stub->Generate(&late_context, request);
    EXPECT_EQ(late->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  }
  engine.Resume();
  v1::GenerateResponse response;
  int finishes = 0;
  while (reader->Read(&response)) finishes += response.has_finish() ? 1 : 0;
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(finishes, 1);
  server.join();
  EXPECT_TRUE(served.ok()) << served;
}

TEST(ServeTest, WhatOutlivesTheGraceEndsUnavailable) {
  FakeEngine engine;
  engine.Pause();
  Metrics metrics;
  std::ostringstream out;
  ServeOptions options = FreePorts();
  options.drain_seconds = 0.05;
  std::unique_ptr<v1::SkipServe::Stub> stub;
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader;
  const absl::Status served = ServeEngine(engine, metrics, "m", options, out, [&] {
    stub = v1::SkipServe::NewStub(
        grpc::CreateChannel(GrpcAddress(out.str()), grpc::InsecureChannelCredentials()));
    v1::GenerateRequest request;
    request.set_text("hello");
    reader = stub->Generate(&context, request);
    EXPECT_TRUE(engine.WaitForRequests(1));
  });
  EXPECT_TRUE(served.ok());
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST(ServeTest, ATakenPortIsOneClearError) {
  FakeEngine engine;
  Metrics metrics;
  std::ostringstream out;
  const absl::Status first = ServeEngine(engine, metrics, "m", FreePorts(), out, [&] {
    ServeOptions options = FreePorts();
    const std::string address = GrpcAddress(out.str());
    const int port = std::stoi(address.substr(address.rfind(':') + 1));
    options.grpc_port = static_cast<uint16_t>(port);
    std::ostringstream nothing;
    bool waited = false;
    const absl::Status second =
        ServeEngine(engine, metrics, "m", options, nothing, [&] { waited = true; });
    EXPECT_EQ(second.code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(second.message()), HasSubstr(std::to_string(port)));
    options = FreePorts();
    options.http_port = static_cast<uint16_t>(port);
    EXPECT_FALSE(ServeEngine(engine, metrics, "m", options, nothing, [&] { waited = true; }).ok());
    EXPECT_FALSE(waited);
    EXPECT_EQ(nothing.str(), "");
  });
  EXPECT_TRUE(first.ok()) << first;
}

TEST(LogTest, OneLineAnEventInBothForms) {
  ASSERT_TRUE(SetUpLogging("info", "json").ok());
  testing::internal::CaptureStderr();
  LogEvent(spdlog::level::info, {{"event", "request"}, {"tokens", 3}, {"name", "a \"b\"\n"}});
  LogEvent(spdlog::level::debug, {{"event", "hidden"}});
  spdlog::info("plain \"text\"");
  std::istringstream lines(testing::internal::GetCapturedStderr());
  std::string line;
  ASSERT_TRUE(std::getline(lines, line));
  const auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json["level"], "info");
  EXPECT_EQ(json["event"], "request");
  EXPECT_EQ(json["tokens"], 3);
  EXPECT_EQ(json["name"], "a \"b\"\n");
  ASSERT_TRUE(std::getline(lines, line));
  EXPECT_EQ(nlohmann::json::parse(line)["message"], "plain \"text\"");

  ASSERT_TRUE(SetUpLogging("info", "text").ok());
  testing::internal::CaptureStderr();
  LogEvent(spdlog::level::info, {{"event", "request"}, {"tokens", 3}});
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr(" info request tokens=3\n"));
  EXPECT_FALSE(SetUpLogging("loud", "text").ok());
  EXPECT_FALSE(SetUpLogging("info", "xml").ok());
}

}  // namespace
}  // namespace skipserve
