// What the scheduler must do, said a second time and slowly: an account of every sequence kept
// beside the scheduler, sums taken token by token, and a KV memory in which every slot knows what
// was written to it.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <vector>

#include "absl/status/status.h"
#include "scheduler/scheduler.h"

namespace skipserve {

class Oracle {
 public:
  explicit Oracle(const Scheduler::Options& options);

  // The code that Add must answer with, and for RESOURCE_EXHAUSTED the message's prefix.
  struct Answer {
    absl::StatusCode code = absl::StatusCode::kOk;
    absl::string_view prefix;
  };
  Answer ExpectedAnswer(SequenceId id, const SequenceShape& shape, bool idle) const;

  void Added(SequenceId id, const SequenceShape& shape, bool idle);
  void Removed(SequenceId id);
  bool Knows(SequenceId id) const { return sequences_.count(id) != 0; }

  // Holds the plan against the rules: admission, decodes, order and size of the prefill work; idle
  // sequences alone, and dropped where their blocks are needed.
  absl::Status CheckPlan(const Scheduler& scheduler, const StepPlan& plan, absl::Time now);
  // Writes what the plan's items write, through the scheduler's tables.
  absl::Status Run(const Scheduler& scheduler, const StepPlan& plan);
  void Committed(const StepPlan& plan);
  // Phases, KV counts and load after any call.
  absl::Status CheckState(const Scheduler& scheduler) const;

  // Sequences that have all of their tokens and are to be removed.
  std::vector<SequenceId> Finished() const;
  size_t TrunkLayers(SequenceId id) const { return sequences_.at(id).shape.trunk_layers; }
  // Every slot of the sequence still holds what its steps wrote.
  absl::Status CheckMemory(const Scheduler& scheduler, SequenceId id) const;

  // How often the rules were put to the test.
  int64_t over_budget = 0;          // plans whose only piece was larger than the budget
  int64_t held_back_by_blocks = 0;  // plans whose queue's head waited for memory
  int64_t shared_prefill = 0;       // plans with prefill of several sequences
  int64_t idle_steps = 0;           // plans of an idle sequence's work
  int64_t idle_waits = 0;           // plans that held back an idle sequence half done
  int64_t idle_drops = 0;           // idle sequences dropped

 private:
  struct Record {
    SequenceShape shape;
    uint64_t tag = 0;  // tells two users of one id apart
    bool idle = false;
    bool admitted = false;
    int64_t trunk = 0;
    int64_t chunk_end = 0;     // of the chunk on its way, if it has passed any layer
    int32_t chunk_layers = 0;  // that it has passed
    SkipPoint skip;            // how far the skipping layers are
    int64_t decoded = 0;
    absl::Time seen = absl::InfiniteFuture();

    bool trunk_done() const { return trunk == shape.prompt_tokens; }
    bool decoding() const { return trunk_done() && skip.layer == shape.layers(); }
  };
  // One sequence's prefill work in a plan; rows of skipping layers are counted through.
  struct Piece {
    SequenceId id;
    bool trunk;
    int64_t begin;
    int64_t end;
  };

  double LayerCost(const Record& record, int64_t begin, int64_t end) const;
  absl::Status CheckTrunk(const Record& record, const TrunkItem& item, double left,
                          bool first) const;
  int64_t Need(const SequenceShape& shape) const;
  int64_t Kv(const Record& record, int32_t layer) const;
  int64_t NextEnd(const Record& record, int64_t end) const;
  int64_t LastEnd(const Record& record) const;
  double Cost(const Record& record, int64_t end) const;
  int64_t Count(const SequenceShape& shape, SkipPoint point) const;
  SkipPoint PointAt(const SequenceShape& shape, int64_t count) const;
  double Remaining(const Record& record) const;
  std::vector<SequenceId> InOrder(std::vector<SequenceId> ids, absl::Time now) const;
  std::vector<SequenceId> AdmitInOrder(absl::Time now);  // the idle sequences that this drops
  int64_t IdleReserved() const;
  absl::Status CheckDecodes(const StepPlan& plan) const;
  absl::Status CheckPrefills(const StepPlan& plan, absl::Time now);
  absl::Status Write(const Scheduler& scheduler, SequenceId id, int32_t layer, int64_t begin,
                     int64_t end);

  Scheduler::Options options_;
  std::map<SequenceId, Record> sequences_;
  std::deque<SequenceId> waiting_;
  std::vector<SequenceId> running_;
  std::deque<SequenceId> idle_;
  std::vector<SequenceId> active_;  // whose work is planned: all that run, else the idle one
  std::vector<uint64_t> memory_;    // [num_blocks, block_tokens]
  uint64_t tags_ = 0;
};

}  // namespace skipserve
