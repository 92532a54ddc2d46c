// Blocks between sequences and the prefix cache.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "scheduler/scheduler.h"

namespace skipserve {

int64_t Scheduler::Spare() const {
  return pool_.free() + prefixes_.evictable_blocks() - owed_ - idle_owed_;
}

bool Scheduler::Take(int64_t count, std::vector<BlockId>& blocks) {
  while (pool_.free() < count) {
    if (!prefixes_.EvictOne(pool_)) return false;
  }
  return pool_.Take(count, blocks);
}

void Scheduler::CoverStates(Sequence& sequence, int64_t end) {
  const int64_t each = StateBlocks(sequence.shape);
  if (!sequence.publishes || each == 0) return;
  const int64_t full = std::min(end / options_.block_tokens,
                                static_cast<int64_t>(sequence.shape.prefix_keys.size()));
  const int64_t wanted = (full - static_cast<int64_t>(sequence.prefix.size())) * each;
  while (static_cast<int64_t>(sequence.states.size()) < wanted) {
    const bool promised = sequence.shape.prefix_only;
    // A sequence's prompt is worth keeping, but not at the cost of another's promise.
    if ((!promised && Spare() < each) || !Take(each, sequence.states)) return;
    if (!promised) continue;
    sequence.owed -= each;
    Owed(sequence) -= each;
  }
}

void Scheduler::Publish(Sequence& sequence) {
  const SequenceShape& shape = sequence.shape;
  const int64_t each = StateBlocks(shape);
  const int64_t full = std::min(sequence.trunk_tokens / options_.block_tokens,
                                static_cast<int64_t>(shape.prefix_keys.size()));
  while (sequence.publishes && static_cast<int64_t>(sequence.prefix.size()) < full) {
    if (static_cast<int64_t>(sequence.states.size()) < each) {
      sequence.publishes = false;  // without its states a block is of no use, nor is what follows
      return;
    }
    const size_t index = sequence.prefix.size();
    const PrefixKey key = shape.prefix_keys[index];
    std::vector<BlockId> kv;
    for (int32_t l = 0; l < shape.trunk_layers; ++l) kv.push_back(sequence.tables[l].blocks[index]);
    std::vector<BlockId> states(sequence.states.begin(), sequence.states.begin() + each);
    sequence.states.erase(sequence.states.begin(), sequence.states.begin() + each);
    PrefixNode* node = prefixes_.Find(key);
    if (node == nullptr) {
      node = prefixes_.Insert(index > 0 ? sequence.prefix.back() : nullptr, key, std::move(kv),
                              std::move(states));
    } else {
      // Another sequence was faster. Equal keys mean equal contents: one copy is enough.
      pool_.Give(states);
      pool_.Give(kv);
      prefixes_.Hold({node});
      for (int32_t l = 0; l < shape.trunk_layers; ++l) {
        sequence.tables[l].blocks[index] = node->kv[l];
      }
    }
    sequence.prefix.push_back(node);
  }
}

void Scheduler::GiveBlocks(Sequence& sequence) {
  const auto shared = static_cast<int64_t>(sequence.prefix.size());
  for (int32_t l = 0; l < static_cast<int32_t>(sequence.tables.size()); ++l) {
    std::vector<BlockId>& blocks = sequence.tables[l].blocks;
    if (l < sequence.shape.trunk_layers) blocks.erase(blocks.begin(), blocks.begin() + shared);
    pool_.Give(blocks);
  }
  sequence.tables.clear();
  pool_.Give(sequence.states);
  prefixes_.Release(sequence.prefix);
  sequence.prefix.clear();
  Owed(sequence) -= sequence.owed;
  sequence.owed = 0;
}

int64_t Scheduler::CachedBlocks(const std::vector<PrefixKey>& keys) const {
  return static_cast<int64_t>(prefixes_.Match(keys, static_cast<int64_t>(keys.size())).size());
}

absl::StatusOr<int64_t> Scheduler::Pin(const std::vector<PrefixKey>& keys) {
  const auto chain = prefixes_.Match(keys, static_cast<int64_t>(keys.size()));
  prefixes_.Pin(chain);
  const int64_t left = pool_.total() - prefixes_.pinned_blocks();
  int64_t largest = 0;
  for (const auto& [id, sequence] : sequences_) {
    largest = std::max(largest, sequence.blocks_needed);
  }
  if (prefixes_.pinned_blocks() > options_.max_pinned_blocks) {
    prefixes_.Unpin(chain);
    return absl::ResourceExhaustedError(
        absl::StrCat("prefixes that are kept may take ", options_.max_pinned_blocks,
                     " KV blocks, all together: drop one, or raise --kv-memory-mb"));
  }
  if (largest <= left && Spare() >= 0) return static_cast<int64_t>(chain.size());
  prefixes_.Unpin(chain);
  return absl::ResourceExhaustedError(
      absl::StrCat("the requests that are here need the KV blocks that pinning ", chain.size(),
                   " blocks of tokens would keep; try again later, or raise --kv-memory-mb"));
}

void Scheduler::Unpin(const std::vector<PrefixKey>& keys, int64_t blocks) {
  prefixes_.Unpin(prefixes_.Match(keys, blocks));
}

}  // namespace skipserve
