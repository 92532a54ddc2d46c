// What must hold between any two calls, checked from scratch and slowly. For tests.
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "scheduler/scheduler.h"
#include "scheduler/shape.h"

namespace skipserve {
namespace {

template <typename... Args>
absl::Status Broken(const Args&... args) {
  return absl::InternalError(absl::StrCat(args...));
}

}  // namespace

absl::Status Scheduler::CheckInvariants() const {
  if (absl::Status status = CheckQueues(); !status.ok()) return status;
  for (const auto& [id, sequence] : sequences_) {
    if (sequence.id != id) return Broken("sequence ", sequence.id, " is filed as ", id);
    if (absl::Status status = CheckSequence(sequence); !status.ok()) return status;
  }
  return CheckBlocks();
}

// Every block is in exactly one table, or free.
absl::Status Scheduler::CheckBlocks() const {
  std::vector<char> seen(pool_.total(), 0);
  int64_t used = 0;
  auto see = [&](BlockId block) {
    if (block < 0 || block >= pool_.total() || seen[block] != 0) return false;
    seen[block] = 1;
    return true;
  };
  for (const auto& [id, sequence] : sequences_) {
    for (const BlockTable& table : sequence.tables) {
      for (BlockId block : table.blocks) {
        if (!see(block)) return Broken("block ", block, " of ", id, " owned twice");
        ++used;
      }
    }
  }
  for (BlockId block : pool_.free_blocks()) {
    if (!see(block)) return Broken("block ", block, " is free and owned, or free twice");
  }
  const int64_t free = static_cast<int64_t>(pool_.free_blocks().size());
  if (used + free != pool_.total() || used != pool_.used()) {
    return Broken("blocks leaked: ", used, " owned, ", free, " free, ", pool_.total(), " in all");
  }
  return absl::OkStatus();
}

absl::Status Scheduler::CheckSequence(const Sequence& sequence) const {
  const SequenceShape& shape = sequence.shape;
  const SequenceId id = sequence.id;
  if (sequence.over_limit) {
    return Broken("sequence ", id, " was not removed at its max_new_tokens, ", shape.max_new_tokens,
                  ", and planned beyond them");
  }
  if (sequence.blocks_needed != BlocksNeeded(shape)) {
    return Broken("sequence ", id, " reserves ", sequence.blocks_needed, " blocks, needs ",
                  BlocksNeeded(shape));
  }
  if (sequence.phase == Phase::kWaiting) {
    if (!sequence.tables.empty() || sequence.planned) return Broken(id, " waits and has work");
    return absl::OkStatus();
  }
  const bool trunk_done = sequence.trunk_tokens == shape.prompt_tokens;
  if (trunk_done == (sequence.phase == Phase::kTrunk)) {
    return Broken("sequence ", id, " has ", sequence.trunk_tokens, " of ", shape.prompt_tokens,
                  " tokens through the trunk in phase ", static_cast<int>(sequence.phase));
  }
  if (sequence.phase == Phase::kSkipping &&
      (sequence.layers_done < shape.trunk_layers || sequence.layers_done >= options_.layers)) {
    return Broken("sequence ", id, " skips with ", sequence.layers_done, " layers done");
  }
  if (sequence.phase != Phase::kDecode && sequence.decoded != 0) {
    return Broken("sequence ", id, " decoded before its prefill ended");
  }
  int64_t used = 0;
  for (int32_t l = 0; l < options_.layers; ++l) {
    const int64_t blocks = static_cast<int64_t>(sequence.tables[l].blocks.size());
    used += blocks;
    if (blocks < BlocksFor(sequence.kv_tokens(l), options_.block_tokens)) {
      return Broken("table of sequence ", id, ", layer ", l, " is too short: ", blocks,
                    " blocks for ", sequence.kv_tokens(l), " tokens");
    }
  }
  if (used > sequence.blocks_needed) {
    return Broken("sequence ", id, " uses ", used, " blocks, reserved ", sequence.blocks_needed);
  }
  return absl::OkStatus();
}

// Every sequence is in one queue, once; the counters are the queues' sums.
absl::Status Scheduler::CheckQueues() const {
  if (waiting_.size() + running_.size() + idle_.size() != sequences_.size()) {
    return Broken(waiting_.size(), " waiting + ", running_.size(), " running + ", idle_.size(),
                  " idle of ", sequences_.size());
  }
  std::unordered_map<SequenceId, int> places;
  int64_t reserved = 0;
  int32_t prefilling = 0;
  for (const Sequence* sequence : waiting_) {
    if (sequence->phase != Phase::kWaiting) return Broken(sequence->id, " waits in a wrong phase");
    ++places[sequence->id];
  }
  for (const Sequence* sequence : running_) {
    if (sequence->phase == Phase::kWaiting) return Broken(sequence->id, " runs in a wrong phase");
    ++places[sequence->id];
    reserved += sequence->blocks_needed;
    prefilling += sequence->phase != Phase::kDecode;
  }
  int64_t idle_reserved = 0;
  for (const Sequence* sequence : idle_) {
    ++places[sequence->id];
    if (!sequence->idle) return Broken(sequence->id, " is no idle sequence");
    if (sequence->phase == Phase::kWaiting) continue;
    if (sequence != idle_.front()) return Broken(sequence->id, " has overtaken an idle sequence");
    idle_reserved = sequence->blocks_needed;
  }
  // As many places as sequences, so none is in two or in none.
  if (places.size() != sequences_.size()) return Broken("a sequence is queued twice");
  if (reserved != reserved_ || idle_reserved != idle_reserved_ ||
      reserved + idle_reserved > pool_.total()) {
    return Broken(reserved, " + ", idle_reserved, " blocks reserved, counted ", reserved_, " + ",
                  idle_reserved_, " of ", pool_.total());
  }
  if (prefilling != prefilling_) {
    return Broken(prefilling, " sequences prefill, counted ", prefilling_);
  }
  if (running_.size() > static_cast<size_t>(options_.max_running) ||
      prefilling > options_.max_prefilling ||
      waiting_.size() > static_cast<size_t>(options_.max_queue) ||
      idle_.size() > static_cast<size_t>(options_.max_idle)) {
    return Broken("more sequences than allowed: ", waiting_.size(), " waiting, ", running_.size(),
                  " running, ", prefilling, " prefilling, ", idle_.size(), " idle");
  }
  return absl::OkStatus();
}

}  // namespace skipserve
