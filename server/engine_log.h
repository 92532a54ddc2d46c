// Writes what the engine tells to the log, and passes it on. No prompt's or answer's text is in it.
// Thread-safe, as far as whom it passes it on to is.
#pragma once

#include "engine/engine.h"

namespace skipserve {

class EngineLog : public EngineObserver {
 public:
  explicit EngineLog(EngineObserver& next) : next_(next) {}  // outlives it

  void OnStep(absl::Duration duration, int64_t decode_tokens, int64_t prefill_tokens) override;
  void OnCanary(const CanaryEvent& event) override;
  void OnLevelChange(const LevelChange& change) override;

 private:
  EngineObserver& next_;
};

}  // namespace skipserve
