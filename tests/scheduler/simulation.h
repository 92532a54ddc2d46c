// A seeded random life of one scheduler: arrivals, cancels, failed steps, tiny pools, watched by
// the oracle at every step. Beside it lives a twin that gets no idle sequences, and whose plans for
// the ordinary ones must be the same.
#pragma once

#include <cstdint>

#include "absl/status/status.h"

namespace skipserve {

struct SimulationResult {
  absl::Status status;       // the first rule broken
  uint64_t fingerprint = 0;  // of all plans and tables, in order
  int64_t steps = 0;
  int64_t finished_dense = 0;
  int64_t finished_skipping = 0;
  int64_t cancelled = 0;
  int64_t failed_steps = 0;
  int64_t queue_full = 0;
  int64_t never_fits = 0;
  int64_t over_budget = 0;
  int64_t held_back_by_blocks = 0;
  int64_t shared_prefill = 0;
  int64_t finished_idle = 0;
  int64_t idle_steps = 0;
  int64_t idle_waits = 0;
  int64_t idle_drops = 0;

  SimulationResult& operator+=(const SimulationResult& other);
};

SimulationResult Simulate(uint64_t seed);

}  // namespace skipserve
