// A request as the scheduler saw it, told at its end: all that a simulation needs to live it again,
// and nothing of what was asked or answered.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "scheduler/types.h"

namespace skipserve {

struct RequestTrace {
  absl::Time arrived;
  SequenceShape shape;
  int64_t new_tokens = 0;
  absl::Duration ttft = absl::ZeroDuration();   // none: zero
  absl::Duration total = absl::ZeroDuration();  // to its end
  absl::StatusCode status = absl::StatusCode::kOk;
  Work cost;  // seconds per unit of work, as learnt by then
};

}  // namespace skipserve
