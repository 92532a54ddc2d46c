// Which levels of skipping are served, from what canaries find: a level too far from dense falls
// back to the next gentler one for a while, and is then tried again. Knows nothing of requests; the
// clock is passed in. Thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace skipserve {

// A level that is not served for now.
struct LevelFallback {
  std::string level;
  std::string served_by;  // in its place: a gentler level, or "off"
  double kl = 0;          // that led to it: mean over its last canaries, nats per token
  double max_kl = 0;      // the limit that this was beyond
  absl::Duration retry_in = absl::ZeroDuration();
};

// What happened to a level.
struct LevelChange {
  enum class Kind { kFellBack, kRetried, kRecovered };
  Kind kind = Kind::kFellBack;
  LevelFallback level;  // kRetried and kRecovered: served by itself
};

class LevelGuard {
 public:
  struct Options {
    // Nats per token. At 0.5, where dense is sure of a token, skipping still gives it 61 %. The
    // fastest of SmolLM2's levels was measured at 0.32 over all answers to questions about facts,
    // those that dense gets wrong among them.
    double max_kl = 0.5;
    absl::Duration hold = absl::Minutes(5);  // before a level that fell back is tried again
  };
  static constexpr size_t kWindow = 16;         // canaries of a level that count
  static constexpr size_t kMinimum = 4;         // fewer decide nothing
  static constexpr int64_t kMaxHoldFactor = 8;  // what repeated fallbacks stretch the hold to

  // The levels' names, from gentle to fast.
  LevelGuard(const std::vector<std::string>& levels, Options options);

  // What a request gets that asks for `level`. Any other name than a level's is served as it is.
  struct Served {
    std::string level;
    std::string reason;  // why it is another level; else empty
  };
  Served Serve(const std::string& level, absl::Time now) const;

  // A canary's mean KL, of a request that was served by `level`. A change is told once, here.
  std::optional<LevelChange> Measured(const std::string& level, double kl, absl::Time now);

  // Levels whose hold has ended since the last call.
  std::vector<LevelChange> TakeRetries(absl::Time now);

  // Those not served at `now`, from gentle to fast.
  std::vector<LevelFallback> Fallbacks(absl::Time now) const;

 private:
  struct Level {
    std::string name;
    std::deque<double> kls;  // the latest last
    bool fallen = false;     // until TakeRetries has told that the hold ended
    bool on_trial = false;   // since then, and not yet found good
    absl::Time retry_at = absl::InfinitePast();
    int64_t hold_factor = 1;  // of the next fallback
    double kl = 0;            // mean at the last fallback
  };

  int Find(const std::string& name) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);  // -1: none
  LevelFallback Describe(size_t level, absl::Time now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;
  mutable absl::Mutex mutex_;
  std::vector<Level> levels_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace skipserve
