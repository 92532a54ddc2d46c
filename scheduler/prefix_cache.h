// Which blocks of prompts' trunks lie in the KV pool, ready for every prompt that begins with the
// same tokens. A node is one block of tokens: its KV in each trunk layer, and the hidden states
// that left the trunk. Nodes hang together as their tokens do, so a node is there only with all
// before it. Host logic: ids and counts. Not thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <unordered_map>
#include <utility>
#include <vector>

#include "scheduler/block_pool.h"
#include "scheduler/types.h"

namespace skipserve {

struct PrefixNode {
  PrefixKey key;
  PrefixNode* parent = nullptr;  // null for a prompt's first block
  std::vector<BlockId> kv;       // by trunk layer
  std::vector<BlockId> states;   // none where the trunk is the whole model
  int64_t holders = 0;           // sequences that read it, and pins
  int64_t pins = 0;
  int32_t children = 0;
  uint64_t last_use = 0;

  int64_t blocks() const { return static_cast<int64_t>(kv.size() + states.size()); }
};

class PrefixCache {
 public:
  // The longest chain of these keys that is there, of at most `most` nodes.
  std::vector<PrefixNode*> Match(const std::vector<PrefixKey>& keys, int64_t most) const;
  PrefixNode* Find(PrefixKey key) const;

  // A held chain stays. Released, it goes when its memory is needed, the least recently used first
  // and from its end.
  void Hold(const std::vector<PrefixNode*>& chain);
  void Release(const std::vector<PrefixNode*>& chain);
  // Likewise, and counted as pinned.
  void Pin(const std::vector<PrefixNode*>& chain);
  void Unpin(const std::vector<PrefixNode*>& chain);

  // A new node, held once by the caller. `key` is not there yet; `parent` is held.
  PrefixNode* Insert(PrefixNode* parent, PrefixKey key, std::vector<BlockId> kv,
                     std::vector<BlockId> states);

  // Gives one node's blocks back to the pool; false where all nodes are held.
  bool EvictOne(BlockPool& pool);

  int64_t evictable_blocks() const { return evictable_; }  // of nodes that nobody holds
  int64_t pinned_blocks() const { return pinned_; }
  int64_t blocks() const { return blocks_; }  // of all nodes
  int64_t evictions() const { return evictions_; }
  const std::unordered_map<PrefixKey, PrefixNode, PrefixKeyHash>& nodes() const { return nodes_; }

 private:
  void AddHolder(PrefixNode& node);
  void DropHolder(PrefixNode& node);
  void NoteLeaf(PrefixNode& node);  // where it may now go

  std::unordered_map<PrefixKey, PrefixNode, PrefixKeyHash> nodes_;  // addresses stay
  // Leaves that nobody holds, the next to go first. Uses are counted, so no two are equal.
  std::map<uint64_t, PrefixNode*> leaves_;
  uint64_t uses_ = 0;
  int64_t evictable_ = 0;
  int64_t pinned_ = 0;
  int64_t blocks_ = 0;
  int64_t evictions_ = 0;
};

}  // namespace skipserve
