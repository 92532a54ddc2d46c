// The gaps between tokens of the last seconds, for whoever looks at the server now; what is kept
// for good is the histogram in metrics.h. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace skipserve {

// Of the gaps that ended within the window; durations are zero where there was none.
struct GapFigures {
  int64_t count = 0;
  absl::Duration median = absl::ZeroDuration();  // the lower one of two
  absl::Duration p99 = absl::ZeroDuration();     // at least 99 % are no longer
  absl::Duration longest = absl::ZeroDuration();
};

class RecentGaps {
 public:
  // `most` bounds the memory: of more gaps within the window the latest are kept.
  explicit RecentGaps(absl::Duration window = absl::Seconds(10), size_t most = size_t{1} << 16)
      : window_(window), most_(most) {}

  void Add(absl::Duration gap, absl::Time now);
  GapFigures Figures(absl::Time now);
  absl::Duration window() const { return window_; }

 private:
  struct Gap {
    absl::Time end;
    absl::Duration length;
  };
  void Forget(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const absl::Duration window_;
  const size_t most_;
  absl::Mutex mutex_;
  std::deque<Gap> gaps_ ABSL_GUARDED_BY(mutex_);  // in the order in which they were added
};

}  // namespace skipserve
