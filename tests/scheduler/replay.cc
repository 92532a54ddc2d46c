#include "tests/scheduler/replay.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"

namespace skipserve {
namespace {

class Life {
 public:
  Life(const Trace& trace, const Scheduler::Options& options)
      : trace_(trace),
        scheduler_(options),
        cost_(trace.requests.empty() ? options.cost : trace.requests.back().cost) {}

  ReplayResult Run() {
    while (result_.status.ok() && (next_ < trace_.requests.size() || !running_.empty())) Step();
    result_.seconds = now_;
    if (result_.status.ok() && scheduler_.load().blocks_reserved != 0) {
      result_.status = absl::InternalError("the pool is not empty at the end");
    }
    return std::move(result_);
  }

 private:
  struct Running {
    const RequestTrace* trace;
    int64_t given = 0;  // tokens that its client has
    int64_t drawn = 0;  // since it began, or began again
    double latest = 0;  // token's time
  };

  static double Arrival(const RequestTrace& trace) {
    return absl::ToDoubleSeconds(trace.arrived - absl::UnixEpoch());
  }

  // Those that came to no token leave when they left.
  static bool LeavesByItself(const RequestTrace& trace) {
    return trace.new_tokens == 0 && !trace.shape.prefix_only;
  }
  static double Leaves(const RequestTrace& trace) {
    return Arrival(trace) + absl::ToDoubleSeconds(trace.total);
  }

  void Step() {
    Arrive();
    Leave();
    const StepPlan plan = scheduler_.Plan(absl::UnixEpoch() + absl::Seconds(now_));
    for (SequenceId id : plan.preempted) {
      ++result_.preemptions;
      running_.at(id).drawn = 0;
    }
    const bool read = EndRead();
    if (plan.empty()) {
      if (plan.preempted.empty() && !read) Wait();
      return;
    }
    std::set<SequenceId> prefilling;
    for (const TrunkItem& item : plan.trunks) prefilling.insert(item.id);
    for (const SkipItem& item : plan.skips) prefilling.insert(item.id);
    const double seconds = cost_.Seconds(plan.work);
    now_ += seconds;
    ++result_.steps;
    scheduler_.Commit(plan);
    scheduler_.Observe(plan.work, absl::Seconds(seconds));
    result_.status.Update(scheduler_.CheckInvariants());
    for (const DecodeItem& item : plan.decodes) Token(item.id);
    // The first token is the prefill's.
    for (SequenceId id : prefilling) {
      if (scheduler_.phase(id) == SequencePhase::kDecode) Token(id);
    }
    EndRead();
  }

  // Ends prefixes that are in the cache, some from their admission on; whether there were any.
  bool EndRead() {
    std::vector<SequenceId> read;
    for (const auto& [id, running] : running_) {
      if (scheduler_.phase(id) == SequencePhase::kDone) read.push_back(id);
    }
    for (SequenceId id : read) End(id);
    return !read.empty();
  }

  void Arrive() {
    for (; next_ < trace_.requests.size() && Arrival(trace_.requests[next_]) <= now_; ++next_) {
      const RequestTrace& request = trace_.requests[next_];
      const SequenceId id = next_ + 1;
      if (scheduler_.Add(id, request.shape).ok()) {
        running_.emplace(id, Running{&request});
      } else {
        ++result_.refused;
      }
    }
  }

  void Leave() {
    std::vector<SequenceId> gone;
    for (const auto& [id, running] : running_) {
      if (LeavesByItself(*running.trace) && Leaves(*running.trace) <= now_) gone.push_back(id);
    }
    for (SequenceId id : gone) End(id);
  }

  // Until somebody comes or leaves.
  void Wait() {
    double until = std::numeric_limits<double>::infinity();
    if (next_ < trace_.requests.size()) until = Arrival(trace_.requests[next_]);
    for (const auto& [id, running] : running_) {
      if (LeavesByItself(*running.trace)) until = std::min(until, Leaves(*running.trace));
    }
    if (std::isinf(until) && !running_.empty()) {
      result_.status =
          absl::InternalError(absl::StrCat("request ", running_.begin()->first, " waits for ever"));
    }
    if (!std::isinf(until)) now_ = std::max(now_, until);
  }

  void Token(SequenceId id) {
    Running& running = running_.at(id);
    if (++running.drawn <= running.given) return;  // it had this one before it was preempted
    if (++running.given == 1) {
      result_.cached_tokens += scheduler_.cached(id).tokens;
      result_.ttft.push_back(now_ - Arrival(*running.trace));
      result_.recorded.push_back(absl::ToDoubleSeconds(running.trace->ttft));
    } else {
      result_.gaps.push_back(now_ - running.latest);
    }
    running.latest = now_;
    const RequestTrace& trace = *running.trace;
    if (running.given >= (LeavesByItself(trace) ? trace.shape.max_new_tokens : trace.new_tokens)) {
      End(id);
    }
  }

  void End(SequenceId id) {
    scheduler_.Remove(id);
    running_.erase(id);
    ++result_.ended;
  }

  const Trace& trace_;
  Scheduler scheduler_;
  const CostModel cost_;  // the machine: what was learnt by the trace's end
  ReplayResult result_;
  std::map<SequenceId, Running> running_;
  size_t next_ = 0;  // to arrive
  double now_ = 0;
};

}  // namespace

ReplayResult Replay(const Trace& trace, const Scheduler::Options& options) {
  return Life(trace, options).Run();
}

}  // namespace skipserve
