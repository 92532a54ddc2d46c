// From a flag's value to what a client sees: a real engine on the tiny model, whose level falls
// back, behind HTTP.
#include <string>

#include "absl/time/clock.h"
#include "engine/open.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "server/http_server.h"
#include "server/metrics.h"
#include "tests/server/http_client.h"

namespace skipserve {
namespace {

using testing::HasSubstr;

TEST(CanaryHttpTest, AFallbackIsSeenEverywhere) {
  Metrics metrics;
  EngineOptions options;
  options.model_path = std::string(SKIPSERVE_SOURCE_DIR) + "/tests/golden/tiny/tiny.gguf";
  options.dtype = "f32";
  options.kv_memory_mb = 64;
  options.canary.rate = 1;
  options.canary.guard.max_kl = 1e-9;
  options.observer = &metrics;
  const auto engine = OpenEngine(options);
  ASSERT_TRUE(engine.ok()) << engine.status();
  const auto server = HttpServer::Start(**engine, metrics, {});
  ASSERT_TRUE(server.ok()) << server.status();
  const auto get = [&](const std::string& path) { return TestClient((*server)->port()).Get(path); };

  nlohmann::json request = {{"max_tokens", 4}, {"skip", {{"level", "moderate"}}}};
  for (int i = 0; i < 300; ++i) request["prompt"].push_back(3 + i * 7 % 290);
  const auto ask = [&] {
    return TestClient((*server)->port()).Post("/v1/completions", request.dump()).json()["skip"];
  };
  for (int i = 1; i <= 4; ++i) {
    EXPECT_EQ(ask()["level"], "moderate");
    const std::string measured =
        "skipserve_canary_total{level=\"moderate\",outcome=\"measured\"} " + std::to_string(i);
    while (get("/metrics").body.find(measured) == std::string::npos) {
      absl::SleepFor(absl::Milliseconds(5));
    }
  }
  nlohmann::json ready;  // the fallback follows the last canary's count
  do {
    const TestReply reply = get("/ready");
    EXPECT_EQ(reply.status, 200);
    ready = reply.json();
  } while (ready["level_fallbacks"].empty());
  EXPECT_EQ(ready["status"], "ready");
  EXPECT_EQ(ready["level_fallbacks"][0]["level"], "moderate");
  EXPECT_EQ(ready["level_fallbacks"][0]["served_by"], "cautious");
  EXPECT_GT(ready["level_fallbacks"][0]["canary_kl"], 0);
  EXPECT_GT(ready["level_fallbacks"][0]["retry_in_seconds"], 200);
  EXPECT_THAT(get("/metrics").body, HasSubstr("skipserve_level_fallback{level=\"moderate\"} 1\n"));
  const nlohmann::json skip = ask();
  EXPECT_EQ(skip["level"], "cautious");
  EXPECT_THAT(std::string(skip["reason"]), HasSubstr("level moderate fell back to cautious"));
}

}  // namespace
}  // namespace skipserve
