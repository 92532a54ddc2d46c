// A fake engine behind a real HTTP server on a free port, for tests.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "server/http_server.h"
#include "server/metrics.h"
#include "tests/server/http_client.h"
#include "tests/support/fake_engine.h"

namespace skipserve {

inline constexpr char kChat[] = "/v1/chat/completions";
inline constexpr char kText[] = "/v1/completions";

class HttpTest : public ::testing::Test {
 protected:
  // Again with other options, in place of the server that SetUp started.
  void Restart(FakeOptions fake, HttpOptions options = {}) {
    Restart(std::make_unique<FakeEngine>(std::move(fake)), std::move(options));
  }
  void Restart(std::unique_ptr<FakeEngine> engine, HttpOptions options = {}) {
    server_.reset();
    engine_ = std::move(engine);
    options.served_name = "tiny";
    options.model_path = "/models/tiny-model.Q8_0.gguf";
    auto server = HttpServer::Start(*engine_, metrics_, options);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  void SetUp() override { Restart(FakeOptions()); }

  uint16_t port() const { return server_->port(); }

  // A new connection's one request.
  TestReply Get(const std::string& path) { return TestClient(port()).Get(path); }
  TestReply Post(const std::string& path, const nlohmann::json& body) {
    return TestClient(port()).Post(path, body.dump());
  }
  TestReply PostText(const std::string& path, const std::string& body) {
    return TestClient(port()).Post(path, body);
  }

  static nlohmann::json ChatBody(nlohmann::json more = nlohmann::json::object()) {
    more["messages"] = {{{"role", "user"}, {"content", "What is the answer?"}}};
    return more;
  }
  static nlohmann::json TextBody(nlohmann::json more = nlohmann::json::object()) {
    more["prompt"] = "The answer is";
    return more;
  }

  // A whole chat goes through: nothing that came before has hurt the server.
  void ExpectAlive() {
    const TestReply reply = Post(kChat, ChatBody());
    ASSERT_EQ(reply.status, 200) << reply.body;
    EXPECT_EQ(reply.json()["choices"][0]["message"]["content"], "The answer is 42.");
  }

  Metrics metrics_;
  std::unique_ptr<FakeEngine> engine_;
  std::unique_ptr<HttpServer> server_;  // destroyed before the engine
};

}  // namespace skipserve
