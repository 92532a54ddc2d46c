// What must hold between any two calls, checked from scratch and slowly. For tests.
#include <algorithm>
#include <map>
#include <string>
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
  if (absl::Status status = CheckPrefixes(); !status.ok()) return status;
  return CheckBlocks();
}

// Every block is in exactly one place: a sequence's own part of a table, a prefix, or free.
absl::Status Scheduler::CheckBlocks() const {
  std::vector<char> seen(pool_.total(), 0);
  int64_t used = 0;
  auto see = [&](BlockId block) {
    if (block < 0 || block >= pool_.total() || seen[block] != 0) return false;
    seen[block] = 1;
    return true;
  };
  for (const auto& [id, sequence] : sequences_) {
    const auto shared = static_cast<int64_t>(sequence.prefix.size());
    for (int32_t l = 0; l < static_cast<int32_t>(sequence.tables.size()); ++l) {
      const std::vector<BlockId>& blocks = sequence.tables[l].blocks;
      for (size_t i = l < sequence.shape.trunk_layers ? shared : 0; i < blocks.size(); ++i) {
        if (!see(blocks[i])) return Broken("block ", blocks[i], " of ", id, " owned twice");
        ++used;
      }
    }
    for (BlockId block : sequence.states) {
      if (!see(block)) return Broken("block ", block, " of ", id, "'s states owned twice");
      ++used;
    }
  }
  for (const auto& [key, node] : prefixes_.nodes()) {
    for (const auto* blocks : {&node.kv, &node.states}) {
      for (BlockId block : *blocks) {
        if (!see(block)) return Broken("block ", block, " of a prefix owned twice");
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

// Who holds a prefix is counted, and it hangs together.
absl::Status Scheduler::CheckPrefixes() const {
  std::unordered_map<const PrefixNode*, int64_t> holders;
  std::unordered_map<const PrefixNode*, int32_t> children;
  for (const auto& [id, sequence] : sequences_) {
    for (size_t i = 0; i < sequence.prefix.size(); ++i) {
      const PrefixNode* node = sequence.prefix[i];
      ++holders[node];
      if (!(node->key == sequence.shape.prefix_keys[i]) ||
          node->parent != (i > 0 ? sequence.prefix[i - 1] : nullptr)) {
        return Broken("sequence ", id, " reads a prefix that is not its own, at block ", i);
      }
      for (int32_t l = 0; l < sequence.shape.trunk_layers; ++l) {
        if (sequence.tables[l].blocks[i] != node->kv[l]) {
          return Broken("sequence ", id, ", layer ", l, ", does not read what it shares");
        }
      }
    }
  }
  int64_t blocks = 0, evictable = 0, pinned = 0;
  for (const auto& [key, node] : prefixes_.nodes()) {
    if (node.holders != holders[&node] + node.pins) {
      return Broken("a prefix counts ", node.holders, " holders, has ", holders[&node], " and ",
                    node.pins, " pins");
    }
    blocks += node.blocks();
    if (node.holders == 0) evictable += node.blocks();
    if (node.pins > 0) pinned += node.blocks();
    if (node.parent == nullptr) continue;
    ++children[node.parent];
    if (prefixes_.Find(node.parent->key) != node.parent) return Broken("a prefix hangs on nothing");
    if (node.parent->holders < node.holders) return Broken("a prefix is held and its begin is not");
  }
  for (const auto& [key, node] : prefixes_.nodes()) {
    if (node.children != children[&node]) return Broken("a prefix counts its children wrongly");
  }
  if (blocks != prefixes_.blocks() || evictable != prefixes_.evictable_blocks() ||
      pinned != prefixes_.pinned_blocks()) {
    return Broken("prefixes have ", blocks, " blocks, ", evictable, " evictable, ", pinned,
                  " pinned; counted ", prefixes_.blocks(), ", ", prefixes_.evictable_blocks(), ", ",
                  prefixes_.pinned_blocks());
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
      (sequence.skip.layer < shape.trunk_layers || sequence.skip.layer >= options_.layers)) {
    return Broken("sequence ", id, " skips with ", sequence.skip.layer, " layers done");
  }
  if (sequence.chunk_layers > 0 &&
      (sequence.phase != Phase::kTrunk || sequence.chunk_layers >= shape.trunk_layers ||
       sequence.chunk_end <= sequence.trunk_tokens || sequence.chunk_end > shape.prompt_tokens)) {
    return Broken("sequence ", id, " has a chunk on its way that cannot be");
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
  if (used > sequence.blocks_needed || sequence.owed < 0 ||
      (!shape.prefix_only && sequence.owed != std::max<int64_t>(0, Promised(sequence) - used))) {
    return Broken("sequence ", id, " uses ", used, " blocks and may take ", sequence.owed,
                  ", needs ", sequence.blocks_needed);
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
  int64_t owed = 0, waiting_tokens = 0;
  int32_t prefilling = 0;
  std::map<std::string, Client> clients;
  for (const auto& [id, sequence] : sequences_) {
    if (sequence.idle) continue;
    ++clients[sequence.shape.client].sequences;
    clients[sequence.shape.client].waiting += sequence.phase == Phase::kWaiting;
  }
  for (const auto& [name, client] : clients_) {
    if (client.sequences != clients[name].sequences || client.waiting != clients[name].waiting) {
      return Broken("a client's sequences are miscounted");
    }
  }
  if (clients.size() != clients_.size()) return Broken(clients.size(), " clients are here");
  for (const Sequence* sequence : waiting_) {
    if (sequence->phase != Phase::kWaiting) return Broken(sequence->id, " waits in a wrong phase");
    waiting_tokens += sequence->shape.prompt_tokens;
    ++places[sequence->id];
  }
  for (const Sequence* sequence : running_) {
    if (sequence->phase == Phase::kWaiting) return Broken(sequence->id, " runs in a wrong phase");
    ++places[sequence->id];
    owed += sequence->owed;
    prefilling += sequence->phase == Phase::kTrunk || sequence->phase == Phase::kSkipping;
  }
  int64_t idle_owed = 0;
  for (const Sequence* sequence : idle_) {
    ++places[sequence->id];
    if (!sequence->idle) return Broken(sequence->id, " is no idle sequence");
    if (sequence->phase == Phase::kWaiting) continue;
    if (sequence != idle_.front()) return Broken(sequence->id, " has overtaken an idle sequence");
    idle_owed = sequence->owed;
  }
  // As many places as sequences, so none is in two or in none.
  if (places.size() != sequences_.size()) return Broken("a sequence is queued twice");
  if (owed != owed_ || idle_owed != idle_owed_ || Spare() < 0) {
    return Broken(owed, " + ", idle_owed, " blocks promised, counted ", owed_, " + ", idle_owed_,
                  ", ", Spare(), " to spare");
  }
  if (waiting_tokens != waiting_tokens_) {
    return Broken("prompts of ", waiting_tokens, " tokens wait, counted ", waiting_tokens_);
  }
  if (prefilling != prefilling_) {
    return Broken(prefilling, " sequences prefill, counted ", prefilling_);
  }
  if (running_.size() > static_cast<size_t>(options_.max_running) ||
      prefilling > options_.max_prefilling ||
      // Those who were preempted come on top.
      waiting_.size() > static_cast<size_t>(options_.max_queue + options_.max_running) ||
      idle_.size() > static_cast<size_t>(options_.max_idle)) {
    return Broken("more sequences than allowed: ", waiting_.size(), " waiting, ", running_.size(),
                  " running, ", prefilling, " prefilling, ", idle_.size(), " idle");
  }
  return absl::OkStatus();
}

}  // namespace skipserve
