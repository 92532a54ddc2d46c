// Tells several observers what the engine tells one, in their order.
#pragma once

#include <utility>
#include <vector>

#include "engine/engine.h"

namespace skipserve {

class Observers : public EngineObserver {
 public:
  explicit Observers(std::vector<EngineObserver*> all) : all_(std::move(all)) {}  // outlive it

  void OnOpen(const Scheduler::Options& options) override {
    for (EngineObserver* one : all_) one->OnOpen(options);
  }
  void OnStep(absl::Duration duration, int64_t decode_tokens, int64_t prefill_tokens) override {
    for (EngineObserver* one : all_) one->OnStep(duration, decode_tokens, prefill_tokens);
  }
  void OnRequest(const RequestTrace& trace) override {
    for (EngineObserver* one : all_) one->OnRequest(trace);
  }
  void OnCanary(const CanaryEvent& event) override {
    for (EngineObserver* one : all_) one->OnCanary(event);
  }
  void OnLevelChange(const LevelChange& change) override {
    for (EngineObserver* one : all_) one->OnLevelChange(change);
  }

 private:
  const std::vector<EngineObserver*> all_;
};

}  // namespace skipserve
