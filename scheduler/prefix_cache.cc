#include "scheduler/prefix_cache.h"

#include <algorithm>

namespace skipserve {

PrefixNode* PrefixCache::Find(PrefixKey key) const {
  const auto found = nodes_.find(key);
  return found == nodes_.end() ? nullptr : const_cast<PrefixNode*>(&found->second);
}

std::vector<PrefixNode*> PrefixCache::Match(const std::vector<PrefixKey>& keys,
                                            int64_t most) const {
  std::vector<PrefixNode*> chain;
  const int64_t end = std::min(most, static_cast<int64_t>(keys.size()));
  while (static_cast<int64_t>(chain.size()) < end) {
    PrefixNode* node = Find(keys[chain.size()]);
    if (node == nullptr) break;
    chain.push_back(node);
  }
  return chain;
}

void PrefixCache::AddHolder(PrefixNode& node) {
  if (node.holders++ > 0) return;
  evictable_ -= node.blocks();
  leaves_.erase(node.last_use);
}

void PrefixCache::DropHolder(PrefixNode& node) {
  if (--node.holders > 0) return;
  evictable_ += node.blocks();
  node.last_use = ++uses_;
  NoteLeaf(node);
}

void PrefixCache::NoteLeaf(PrefixNode& node) {
  if (node.holders == 0 && node.children == 0) leaves_.emplace(node.last_use, &node);
}

void PrefixCache::Hold(const std::vector<PrefixNode*>& chain) {
  for (PrefixNode* node : chain) AddHolder(*node);
}

void PrefixCache::Release(const std::vector<PrefixNode*>& chain) {
  for (PrefixNode* node : chain) DropHolder(*node);
}

void PrefixCache::Pin(const std::vector<PrefixNode*>& chain) {
  for (PrefixNode* node : chain) {
    AddHolder(*node);
    if (node->pins++ == 0) pinned_ += node->blocks();
  }
}

void PrefixCache::Unpin(const std::vector<PrefixNode*>& chain) {
  for (PrefixNode* node : chain) {
    if (--node->pins == 0) pinned_ -= node->blocks();
    DropHolder(*node);
  }
}

PrefixNode* PrefixCache::Insert(PrefixNode* parent, PrefixKey key, std::vector<BlockId> kv,
                                std::vector<BlockId> states) {
  PrefixNode& node = nodes_[key];
  node.key = key;
  node.parent = parent;
  node.kv = std::move(kv);
  node.states = std::move(states);
  node.holders = 1;
  if (parent != nullptr) ++parent->children;
  blocks_ += node.blocks();
  return &node;
}

bool PrefixCache::EvictOne(BlockPool& pool) {
  if (leaves_.empty()) return false;
  PrefixNode& node = *leaves_.begin()->second;
  leaves_.erase(leaves_.begin());
  evictable_ -= node.blocks();
  blocks_ -= node.blocks();
  pool.Give(node.states);
  pool.Give(node.kv);
  if (node.parent != nullptr) {
    --node.parent->children;
    NoteLeaf(*node.parent);
  }
  ++evictions_;
  nodes_.erase(PrefixKey(node.key));
  return true;
}

}  // namespace skipserve
