// Writes what the engine tells to the log. No prompt's or answer's text is in it. Thread-safe.
#pragma once

#include "engine/engine.h"

namespace skipserve {

class EngineLog : public EngineObserver {
 public:
  void OnCanary(const CanaryEvent& event) override;
  void OnLevelChange(const LevelChange& change) override;
};

}  // namespace skipserve
