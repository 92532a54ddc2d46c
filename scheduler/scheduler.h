// Continuous batching: which sequences run, and what each step computes. Pure host logic: no
// tensors, no threads, the clock is passed in; the same calls give the same plans. Not thread-safe:
// the step loop owns it.
//
// A sequence waits, is admitted when the memory that it is promised fits, goes through the trunk in
// chunks, then through its skipping layers in slices, then decodes one token a step until it is
// removed. Its first token comes from the prefill's logits; each decode step writes the token
// before to every layer's cache, so the last of max_new_tokens is never written.
//
// Memory for a prompt is promised at admission, and for the first of its new tokens; an answer that
// grows beyond them takes what is free, and where nothing is, the youngest sequence of the lowest
// priority gives up its blocks and begins again later. The oldest of the highest priority never
// does, so all come to their end.
//
// Who is admitted next: the highest priority; of its clients the one that has had least of the
// machine; of that one's sequences the one with the shortest prefill.
//
// What a step may take is a time: a cost model that learns from the steps that ran says how much
// prefill fits beside the decodes. Shortest remaining prefill first, where waiting makes a prefill
// shorter by the time waited: a short prompt does not stand behind a long one, and nobody stands
// behind newcomers of their own client for longer than their own prefill takes.
//
// Trunks are shared: the full blocks of a prompt whose keys are in the prefix cache are not
// computed again, and those it computes itself are left there for others. A sequence only reads
// what it shares. Cached blocks that nobody reads are free memory to everybody else.
//
// Beside these ordinary sequences there may be a few of idle priority, for work that nobody waits
// for. They go through the same phases, one after the other, in steps of their own that are planned
// only while there is no ordinary sequence at all. So ordinary plans are the same with and without
// them, and who arrives during such a step waits for its end: it is no larger than what a decode
// step lets in of others' prefill.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "scheduler/block_pool.h"
#include "scheduler/cost_model.h"
#include "scheduler/prefix_cache.h"
#include "scheduler/sequence.h"
#include "scheduler/types.h"

namespace skipserve {

class Scheduler {
 public:
  struct Options {
    int64_t num_blocks = 0;
    int32_t block_tokens = 32;
    int32_t layers = 0;
    int32_t max_running = 32;    // admitted sequences, prefilling or decoding: the widest decode
    int32_t max_prefilling = 2;  // admitted and still in prefill (each holds hidden states)
    int32_t max_queue = 256;     // waiting sequences
    int64_t max_queue_tokens = int64_t{1} << 40;  // their prompts' tokens, unless there is only one
    int64_t max_pinned_blocks = int64_t{1} << 40;  // of pinned prefixes
    int64_t promised_new_tokens = int64_t{1}
                                  << 40;  // at admission; fewer than it may need: overcommit
    int32_t max_idle = 2;                 // sequences of idle priority, the one that runs included
    int64_t min_chunk_tokens = 32;        // trunk chunks end at multiples of it, or with the prompt
    int64_t min_slice_rows = 64;          // likewise slices of skipping layers
    int64_t chunk_tokens = 512;           // largest trunk chunk
    double busy_step_seconds = 0.09;      // a step while others decode, or of an idle sequence
    double idle_step_seconds = 0.2;       // a step while nobody does
    bool shortest_first = true;           // false: first come, first served
    int32_t state_blocks = 0;  // blocks that keep one block's hidden states behind a trunk
    Work cost;                 // what the cost model starts from, seconds per unit
  };

  using Phase = SequencePhase;

  // Ordinary sequences; blocks are everybody's.
  struct Load {
    int64_t waiting = 0;
    int64_t prefilling = 0;
    int64_t decoding = 0;
    int64_t blocks_total = 0;
    int64_t blocks_used = 0;       // by sequences and by pinned prefixes
    int64_t blocks_reserved = 0;   // these, and what is promised to admitted sequences
    int64_t blocks_cached = 0;     // of prefixes that nobody reads: free to whoever needs them
    int64_t prefix_tokens = 0;     // tokens in the prefix cache, in all
    int64_t prefix_evictions = 0;  // blocks of tokens that left it, since the start
    // blocks_used, by the layer whose K and V they hold; kept hidden states are of none.
    std::vector<int64_t> blocks_by_layer;
  };

  // What a sequence found in the prefix cache when it was admitted.
  struct Cached {
    int64_t tokens = 0;
    std::vector<BlockId> states;  // of these tokens' blocks, state_blocks each; none if dense
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

  // RESOURCE_EXHAUSTED where the queue is full, where a client with a name has as many waiting as
  // there are places left (so that nobody fills more than half of the queue alone), or where the
  // shape can never fit in the pool (the message has the numbers); INVALID_ARGUMENT for a shape
  // that contradicts itself; ALREADY_EXISTS for an id in use.
  absl::Status Add(SequenceId id, SequenceShape shape);
  // Likewise for one of idle priority, where max_idle bounds what the queue may hold.
  absl::Status AddIdle(SequenceId id, SequenceShape shape);

  // Ends a sequence at any moment between steps, in any phase, and frees everything it holds. False
  // if unknown.
  bool Remove(SequenceId id);

  // The next step: admits what fits, then plans work and gives every sequence in it the blocks it
  // will write to. Every decoding sequence is in every plan. Prefill work takes at most what is
  // left of the step's time, but there is always at least one piece (the smallest: min_chunk_tokens
  // or min_slice_rows), so nothing starves.
  //
  // A step that failed is not committed: the blocks it was given stay with their sequences, and the
  // next plan covers the same work with them.
  //
  // The caller removes a sequence that has its max_new_tokens. One that it left is not planned any
  // further, as the write would fall outside of what was reserved: nobody else's blocks are
  // touched, and CheckInvariants reports the mistake.
  //
  // A sequence that had to give its blocks to another is listed in the plan: an idle one is
  // dropped, an ordinary one waits again.
  StepPlan Plan(absl::Time now);

  // Records that `plan`, the latest one, ran (or those of its items that did). Sequences removed
  // since are ignored, and so is an item that was committed before.
  void Commit(const StepPlan& plan);

  // A step of this work took so long.
  void Observe(const Work& work, absl::Duration duration);

  // Whether enough steps have been observed for its times to mean something.
  bool knows_times() const { return cost_.observed() >= 16; }
  const CostModel& cost() const { return cost_; }
  // Of such a prompt's prefill, with what the prefix cache has of it, by the cost model.
  double PrefillSeconds(const SequenceShape& shape) const;

  // Of the prompt's keys, how many blocks in a row the prefix cache has from the first on.
  int64_t CachedBlocks(const std::vector<PrefixKey>& keys) const;
  // Keeps what the cache has of these keys until Unpin with the same keys and the number of blocks
  // that Pin gave. RESOURCE_EXHAUSTED where a sequence that is there could then never run.
  absl::StatusOr<int64_t> Pin(const std::vector<PrefixKey>& keys);
  void Unpin(const std::vector<PrefixKey>& keys, int64_t blocks);

  // How long until about half of those who wait now have been admitted, at the rate at which that
  // has gone lately; zero where nobody waits.
  absl::Duration TimeToDrain() const;

  // Of the six below, the id must be known.
  Phase phase(SequenceId id) const;
  // One table per layer; none while waiting. Valid until the next call that is not const.
  const std::vector<BlockTable>& tables(SequenceId id) const;
  // Tokens in layer `layer`'s cache of this sequence, as of the last Commit.
  int64_t kv_tokens(SequenceId id, int32_t layer) const;
  // InfiniteFuture while waiting.
  absl::Time admitted_at(SequenceId id) const;
  Cached cached(SequenceId id) const;
  // Of its prefill, by the cost model, if it had the machine to itself from now on.
  double RemainingSeconds(SequenceId id) const;

  Load load() const;
  bool idle() const;  // no sequence of any priority

  // For tests: INTERNAL naming the first broken invariant (block owned twice, leaked, table too
  // short, over-reserved).
  absl::Status CheckInvariants() const;

 private:
  absl::Status CheckNew(SequenceId id, const SequenceShape& shape) const;
  absl::Status CheckQueue(const SequenceShape& shape) const;
  Sequence& Record(SequenceId id, SequenceShape shape);
  std::vector<PrefixNode*> Match(const SequenceShape& shape) const;
  double Remaining(const Sequence& sequence) const;
  // The order of prefills, and in `Next` of admissions.
  bool Before(const Sequence& a, const Sequence& b, absl::Time now) const;
  std::vector<Sequence*>::iterator Next(absl::Time now);

  void Admit(absl::Time now, StepPlan& plan);
  void Start(Sequence& sequence, const std::vector<PrefixNode*>& prefix, absl::Time now);
  void StartIdle(absl::Time now);
  int64_t Promised(const Sequence& sequence) const;
  void Charge(const std::string& client, double seconds);
  void ForgetClients();
  void DropIdle(StepPlan& plan);

  void PlanDecodes(const std::vector<Sequence*>& sequences, StepPlan& plan);
  void PlanPrefills(const std::vector<Sequence*>& sequences, double left, StepPlan& plan);
  // Room for `missing` blocks beyond what is promised to the sequence, where need be by preemption;
  // false where it was itself the one to go.
  bool MakeRoom(Sequence& sequence, int64_t missing, StepPlan& plan);
  void Preempt(Sequence& sequence, StepPlan& plan);
  // The time that was planned; none where nothing was.
  std::optional<double> PlanTrunk(Sequence& sequence, double left, StepPlan& plan);
  std::optional<double> PlanSlice(Sequence& sequence, double left, StepPlan& plan);

  // Blocks that nobody holds or is promised.
  int64_t Spare() const;
  // Takes blocks from the pool, where need be from prefixes that nobody reads.
  bool Take(int64_t count, std::vector<BlockId>& blocks);
  // Takes what layer `layer` lacks to hold `tokens` tokens: what was promised first, then what is
  // to spare. False, and nothing taken, beyond the sequence's limit.
  bool Cover(Sequence& sequence, int32_t layer, int64_t tokens);
  int64_t Missing(const Sequence& sequence, int32_t layer, int64_t tokens) const;
  // Takes the blocks for the states of all full blocks before token `end`, as far as there is room.
  void CoverStates(Sequence& sequence, int64_t end);
  int64_t StateBlocks(const SequenceShape& shape) const;
  // Leaves the full blocks that have passed the trunk in the prefix cache.
  void Publish(Sequence& sequence);
  void GiveBlocks(Sequence& sequence);
  int64_t& Owed(const Sequence& sequence) { return sequence.idle ? idle_owed_ : owed_; }

  // The sequence if it is in the latest plan and not yet committed; takes it out of the plan.
  Sequence* TakePlanned(SequenceId id, Phase phase);
  void EndTrunk(Sequence& sequence);
  void EndPrefill(Sequence& sequence, Phase phase);

  absl::Status CheckBlocks() const;
  absl::Status CheckPrefixes() const;
  absl::Status CheckSequence(const Sequence& sequence) const;
  absl::Status CheckQueues() const;

  const Options options_;
  const absl::Status options_status_;
  BlockPool pool_;
  PrefixCache prefixes_;
  CostModel cost_;
  int64_t owed_ = 0;       // what ordinary sequences may still take
  int64_t idle_owed_ = 0;  // the idle sequence that runs
  // Seconds of the machine that each client has had. Who has nothing that waits keeps no credit: it
  // comes anew with at least the average of what was charged while it was away, `virtual_`, which
  // only grows, so nobody stands behind newcomers for long. A client without sequences is forgotten
  // once it has no debt.
  struct Client {
    double served = 0;
    int64_t sequences = 0;
    int64_t waiting = 0;
  };
  std::map<std::string, Client> clients_;
  double virtual_ = 0;
  int64_t arrivals_ = 0, admissions_ = 0;
  absl::Time admitted_last_ = absl::InfinitePast();
  absl::Duration admission_interval_ = absl::ZeroDuration();  // lately, while others waited
  int64_t waiting_tokens_ = 0;
  int32_t prefilling_ = 0;
  std::unordered_map<SequenceId, Sequence> sequences_;  // its addresses stay while it grows
  std::vector<Sequence*> waiting_;                      // in order of arrival
  std::vector<Sequence*> running_;                      // in order of admission
  std::deque<Sequence*> idle_;                          // oldest first; only the first may run
};

}  // namespace skipserve
