// Continuous batching: which sequences run, and what each step computes. Pure host logic: no
// tensors, no threads, the clock is passed in; the same calls give the same plans. Not thread-safe:
// the step loop owns it.
//
// A sequence waits (FCFS), is admitted when its whole KV need fits, goes through the trunk in
// chunks, then through its skipping layers in slices, then decodes one token a step until it is
// removed. Its first token comes from the prefill's logits; each decode step writes the token
// before to every layer's cache, so the last of max_new_tokens is never written.
//
// Beside these ordinary sequences there may be a few of idle priority, for work that nobody waits
// for. They go through the same phases, one after the other, in steps of their own that are planned
// only while there is no ordinary sequence at all. So ordinary plans are the same with and without
// them, and who arrives during such a step waits for its end: it is no larger than what a decode
// step lets in of others' prefill.
#pragma once

#include <cstdint>
#include <deque>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "scheduler/block_pool.h"
#include "scheduler/sequence.h"
#include "scheduler/types.h"

namespace skipserve {

class Scheduler {
 public:
  struct Options {
    int64_t num_blocks = 0;
    int32_t block_tokens = 32;
    int32_t layers = 0;
    int32_t max_running = 32;       // admitted sequences, prefilling or decoding: the widest decode
    int32_t max_prefilling = 2;     // admitted and still in prefill (each holds hidden states)
    int32_t max_queue = 256;        // waiting sequences
    int32_t max_idle = 2;           // sequences of idle priority, the one that runs included
    int64_t min_chunk_tokens = 32;  // trunk chunks end at multiples of it, or with the prompt
    int64_t chunk_tokens = 512;     // largest trunk chunk
    double busy_step_flops = 4e9;   // prefill work of one step while others decode, or if idle
    double idle_step_flops = 1e11;  // prefill work of one step while nobody does
  };

  using Phase = SequencePhase;

  // Ordinary sequences; blocks are everybody's.
  struct Load {
    int64_t waiting = 0;
    int64_t prefilling = 0;
    int64_t decoding = 0;
    int64_t blocks_total = 0;
    int64_t blocks_used = 0;
    int64_t blocks_reserved = 0;           // promised to admitted sequences, used ones included
    std::vector<int64_t> blocks_by_layer;  // blocks_used, by the layer whose tokens they hold
  };

  // The two reasons for RESOURCE_EXHAUSTED, as prefixes of the status's message. A full queue
  // passes with time; a request that can never fit stays refused.
  static constexpr absl::string_view kQueueFull = "queue full: ";
  static constexpr absl::string_view kNeverFits = "never fits: ";

  // INVALID_ARGUMENT naming the first option out of range. A scheduler made of such options runs
  // nothing: Add answers with this status.
  static absl::Status CheckOptions(const Options& options);

  explicit Scheduler(Options options);
  Scheduler(const Scheduler&) = delete;  // it points into itself
  Scheduler& operator=(const Scheduler&) = delete;

  // Blocks a sequence of this shape can come to hold: sum over layers of
  // ceil((kv_prompt_tokens + max_new_tokens - 1) / block_tokens).
  int64_t BlocksNeeded(const SequenceShape& shape) const;

  // RESOURCE_EXHAUSTED where the queue is full, or where the shape can never fit in the pool (the
  // message has the numbers); INVALID_ARGUMENT for a shape that contradicts itself;
  // ALREADY_EXISTS for an id in use.
  absl::Status Add(SequenceId id, SequenceShape shape);
  // Likewise for one of idle priority, where max_idle bounds what the queue may hold.
  absl::Status AddIdle(SequenceId id, SequenceShape shape);

  // Ends a sequence at any moment between steps, in any phase, and frees everything it holds. False
  // if unknown.
  bool Remove(SequenceId id);

  // The next step: admits what fits, then plans work and gives every sequence in it the blocks it
  // will write to. Every decoding sequence is in every plan. Prefill work is at most the step's
  // FLOPs, but always at least one piece (the smallest: min_chunk_tokens or one layer), so nothing
  // starves. Oldest admitted prefill first.
  //
  // A step that failed is not committed: the blocks it was given stay with their sequences, and the
  // next plan covers the same work with them.
  //
  // The caller removes a sequence that has its max_new_tokens. One that it left is not planned any
  // further, as the write would fall outside of what was reserved: nobody else's blocks are
  // touched, and CheckInvariants reports the mistake.
  //
  // An idle sequence whose blocks an ordinary one needs is dropped, and listed in the plan.
  StepPlan Plan(absl::Time now);

  // Records that `plan`, the latest one, ran (or those of its items that did). Sequences removed
  // since are ignored, and so is an item that was committed before.
  void Commit(const StepPlan& plan);

  // Of the four below, the id must be known.
  Phase phase(SequenceId id) const;
  // One table per layer; none while waiting. Valid until the next call that is not const.
  const std::vector<BlockTable>& tables(SequenceId id) const;
  // Tokens in layer `layer`'s cache of this sequence, as of the last Commit.
  int64_t kv_tokens(SequenceId id, int32_t layer) const;
  // InfiniteFuture while waiting.
  absl::Time admitted_at(SequenceId id) const;

  Load load() const;
  bool idle() const;  // no sequence of any priority

  // For tests: INTERNAL naming the first broken invariant (block owned twice, leaked, table too
  // short, over-reserved).
  absl::Status CheckInvariants() const;

 private:
  absl::Status CheckNew(SequenceId id, const SequenceShape& shape) const;
  Sequence& Record(SequenceId id, SequenceShape shape);
  void Admit(absl::Time now, StepPlan& plan);
  void Start(Sequence& sequence, absl::Time now);
  void DropIdle(StepPlan& plan);
  void PlanDecodes(const std::vector<Sequence*>& sequences, StepPlan& plan);
  void PlanPrefills(const std::vector<Sequence*>& sequences, double left, StepPlan& plan);
  // Takes what layer `layer` lacks to hold `tokens` tokens. False, and nothing taken, beyond the
  // reservation.
  bool Cover(Sequence& sequence, int32_t layer, int64_t tokens);
  bool Cover(Sequence& sequence, int32_t layer_begin, int32_t layer_end, int64_t tokens);
  // The sequence if it is in the latest plan and not yet committed; takes it out of the plan.
  Sequence* TakePlanned(SequenceId id, Phase phase);
  void EndPrefill(Sequence& sequence);

  absl::Status CheckBlocks() const;
  absl::Status CheckSequence(const Sequence& sequence) const;
  absl::Status CheckQueues() const;

  const Options options_;
  const absl::Status options_status_;
  BlockPool pool_;
  int64_t reserved_ = 0;       // for ordinary sequences; with the idle one's never beyond the pool
  int64_t idle_reserved_ = 0;  // for the idle sequence that runs
  int32_t prefilling_ = 0;
  std::unordered_map<SequenceId, Sequence> sequences_;  // its addresses stay while it grows
  std::deque<Sequence*> waiting_;                       // oldest first
  std::vector<Sequence*> running_;                      // in order of admission
  std::deque<Sequence*> idle_;                          // oldest first; only the first may run
};

}  // namespace skipserve
