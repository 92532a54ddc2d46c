// Lives a recorded trace again through the scheduler: the same arrivals and lengths, the time that
// the cost model gives every step, the invariants checked after each.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "scheduler/scheduler.h"
#include "server/trace.h"

namespace skipserve {

struct ReplayResult {
  absl::Status status;  // the first rule broken
  int64_t steps = 0;
  int64_t refused = 0;  // when they came, for want of room
  int64_t ended = 0;
  int64_t preemptions = 0;
  int64_t cached_tokens = 0;
  double seconds = 0;            // until all had ended
  std::vector<double> ttft;      // of each request that came to a token, seconds
  std::vector<double> recorded;  // beside it, what was recorded for the same request; 0: none
  std::vector<double> gaps;      // between two tokens of one answer, seconds
};

// Options may differ from the trace's: that is what one asks a simulation. Requests end with their
// last recorded token, those that came to none when they ended in the trace. Deadlines and clients
// that hang up are in the trace only by that.
ReplayResult Replay(const Trace& trace, const Scheduler::Options& options);

}  // namespace skipserve
