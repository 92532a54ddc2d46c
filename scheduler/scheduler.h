// Continuous batching: which sequences run, and what each step computes. Pure host logic: no tensors, no threads, the
// clock is passed in; the same calls give the same plans. Not thread-safe: the step loop owns it.
//
// A sequence waits (FCFS), is admitted when its whole KV need fits, goes through the trunk in chunks, then through its
// skipping layers in slices, then decodes one token a step until it is removed.
#pragma once

#include <cstdint>
#include <deque>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "scheduler/block_pool.h"
#include "scheduler/types.h"

namespace skipserve {

class Scheduler {
 public:
  struct Options {
    int64_t num_blocks = 0;
    int32_t block_tokens = 32;
    int32_t layers = 0;
    int32_t max_running = 32;     // admitted sequences, prefilling or decoding; also the widest decode batch
    int32_t max_prefilling = 2;   // admitted sequences still in prefill (each holds its hidden states)
    int32_t max_queue = 256;      // waiting sequences
    int64_t chunk_tokens = 512;   // largest trunk chunk
    double busy_step_flops = 4e9;   // prefill work of one step while others decode
    double idle_step_flops = 1e11;  // prefill work of one step while nobody does
  };

  enum class Phase { kWaiting, kTrunk, kSkipping, kDecode };

  struct Load {
    int64_t waiting = 0;
    int64_t prefilling = 0;
    int64_t decoding = 0;
    int64_t blocks_total = 0;
    int64_t blocks_used = 0;
    int64_t blocks_reserved = 0;  // promised to admitted sequences, used ones included
  };

  explicit Scheduler(Options options);

  // Blocks a sequence of this shape can come to hold: sum over layers of ceil((kv + new tokens) / block_tokens).
  int64_t BlocksNeeded(const SequenceShape& shape) const;

  // RESOURCE_EXHAUSTED where the queue is full, or where the shape can never fit in the pool (the message has the
  // numbers); INVALID_ARGUMENT for a shape that contradicts itself; ALREADY_EXISTS for an id in use.
  absl::Status Add(SequenceId id, SequenceShape shape, absl::Time now);

  // Ends a sequence at any moment between steps, in any phase, and frees everything it holds. False if unknown.
  bool Remove(SequenceId id);

  // The next step: admits what fits, then plans work and gives every sequence in it the blocks it will write to.
  // Every decoding sequence is in every plan. Prefill work is at most the step's FLOPs, but always at least one piece
  // (the smallest: min_chunk tokens or one layer), so nothing starves. Oldest admitted prefill first.
  StepPlan Plan(absl::Time now);

  // Records that `plan` ran. Sequences removed since are ignored.
  void Commit(const StepPlan& plan);

  Phase phase(SequenceId id) const;
  // One table per layer. Valid until the next call that is not const. The id must be known and admitted.
  const std::vector<BlockTable>& tables(SequenceId id) const;
  // Tokens in layer `layer`'s cache of this sequence, as of the last Commit.
  int64_t kv_tokens(SequenceId id, int32_t layer) const;
  absl::Time admitted_at(SequenceId id) const;

  Load load() const;
  bool idle() const;  // nothing waiting, nothing running

  // For tests: INTERNAL naming the first broken invariant (block owned twice, leaked, table too short, over-reserved).
  absl::Status CheckInvariants() const;

 private:
  // implementation to be completed
};

}  // namespace skipserve
