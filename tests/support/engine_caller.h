// Callers of an engine on the tiny model: a sink that collects, requests, and a fixture whose
// engines must end empty.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "engine/open.h"

namespace skipserve::testing {

inline const std::string kTiny = std::string(SKIPSERVE_SOURCE_DIR) + "/tests/golden/tiny/tiny.gguf";
inline const std::string kTinyFourBits =
    std::string(SKIPSERVE_SOURCE_DIR) + "/tests/golden/tiny/tiny.q4.gguf";

class CollectingSink : public ResponseSink {
 public:
  void OnToken(TokenEvent event) override {
    absl::MutexLock lock(&mutex_);
    EXPECT_EQ(finishes_, 0);
    tokens_.push_back(event.id);
    text_ += event.text;
    if (event.logprob) logprobs_.push_back(*event.logprob);
    if (!first_.HasBeenNotified()) first_.Notify();
  }
  void OnFinish(FinishEvent event) override {
    absl::MutexLock lock(&mutex_);
    ++finishes_;
    text_ += event.text;
    finish_ = std::move(event);
    done_.Notify();
  }

  const FinishEvent& Wait() {
    EXPECT_TRUE(done_.WaitForNotificationWithTimeout(absl::Minutes(2)))
        << "the request never ended";
    return finish_;
  }
  void WaitForFirstToken() { EXPECT_TRUE(first_.WaitForNotificationWithTimeout(absl::Minutes(2))); }

  std::vector<int32_t> tokens_;
  std::vector<float> logprobs_;
  std::string text_;
  FinishEvent finish_;
  int finishes_ = 0;

 private:
  absl::Mutex mutex_;
  absl::Notification done_, first_;
};

inline EngineOptions TinyOptions() {
  EngineOptions options;
  options.model_path = kTiny;
  options.backend = "reference";
  options.dtype = "f32";
  options.kv_memory_mb = 64;
  options.chunk_tokens = 64;
  return options;
}

// Every backend with every type of weights and of KV.
inline std::vector<EngineOptions> EveryKind() {
  std::vector<EngineOptions> kinds;
  for (const auto& [backend, dtype, kv_dtype] : {std::tuple{"reference", "f32", "auto"},
                                                 {"reference", "f32", "int8"},
                                                 {"cpu", "f32", "auto"},
                                                 {"cpu", "f32", "int8"},
                                                 {"cpu", "bf16", "auto"},
                                                 {"cpu", "bf16", "int8"},
                                                 {"cpu", "int8", "auto"},
                                                 {"cpu", "int4", "auto"}}) {
    EngineOptions options = TinyOptions();
    if (dtype == std::string("int4")) options.model_path = kTinyFourBits;
    options.backend = backend;
    options.dtype = dtype;
    options.kv_dtype = kv_dtype;
    kinds.push_back(options);
  }
  return kinds;
}

inline std::string KindName(const EngineOptions& options) {
  return options.backend + " " + options.dtype + ", KV " + options.kv_dtype;
}

inline GenerateRequest SomeRequest(int length, int seed, int64_t max_tokens = 12) {
  GenerateRequest request;
  uint32_t state = seed;
  for (int i = 0; i < length; ++i) {
    request.prompt.push_back(
        static_cast<int32_t>((state = state * 1664525u + 1013904223u) >> 8) % 300 + 3);
  }
  request.sampling.temperature = 0;
  request.stop.max_tokens = max_tokens;
  request.stop.ignore_eos = true;
  request.skip.mode = SkipRequest::Mode::kOff;
  return request;
}

inline SkipRequest Layered() {
  SkipRequest skip;
  skip.mode = SkipRequest::Mode::kPolicy;
  skip.policy.start = 2;
  skip.policy.stage_ends = {2, 3, 4, 5};
  skip.policy.budgets = skip.policy.keeps = {0.5, 0.4, 0.3, 0.2};
  skip.policy.recent = 4;
  skip.policy.ffn_score = FfnScore::kExact;
  return skip;
}

inline std::vector<int32_t> Answer(Engine& engine, GenerateRequest request) {
  auto sink = std::make_shared<CollectingSink>();
  const absl::StatusOr<RequestId> id = engine.Submit(std::move(request), sink);
  EXPECT_TRUE(id.ok()) << id.status();
  if (!id.ok()) return {};
  EXPECT_TRUE(sink->Wait().status.ok()) << sink->finish_.status;
  return sink->tokens_;
}

// Whatever a test did, its engines end empty: no request and no block of KV memory stays behind.
class LlmEngineTest : public ::testing::Test {
 protected:
  Engine* Open(EngineOptions options = TinyOptions()) { return Keep(OpenEngine(options)); }

  Engine* Keep(absl::StatusOr<std::unique_ptr<Engine>> engine) {
    EXPECT_TRUE(engine.ok()) << engine.status();
    return engines_.emplace_back(*std::move(engine)).get();
  }

  void TearDown() override {
    for (const auto& engine : engines_) {
      engine->Drain(absl::Minutes(1));
      const EngineLoad load = engine->load();
      EXPECT_EQ(load.kv_blocks_used, 0);
      EXPECT_EQ(load.kv_blocks_reserved, 0);
      EXPECT_EQ(load.waiting + load.prefilling + load.decoding, 0);
    }
  }

 private:
  std::vector<std::unique_ptr<Engine>> engines_;
};

}  // namespace skipserve::testing
