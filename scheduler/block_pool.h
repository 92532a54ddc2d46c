// The free list of KV blocks: ids and counts only, no memory. Not thread-safe.
#pragma once

#include <cstdint>
#include <vector>

#include "scheduler/types.h"

namespace skipserve {

class BlockPool {
 public:
  explicit BlockPool(int64_t num_blocks);

  // Takes `count` blocks and appends them to `blocks`. False, and nothing taken, where fewer are
  // free.
  bool Take(int64_t count, std::vector<BlockId>& blocks);
  // Gives all of them back and empties the list.
  void Give(std::vector<BlockId>& blocks);

  int64_t total() const { return total_; }
  int64_t used() const { return total_ - free(); }
  int64_t free() const { return static_cast<int64_t>(free_.size()); }
  // The next block to be taken is the last.
  const std::vector<BlockId>& free_blocks() const { return free_; }

 private:
  int64_t total_;
  std::vector<BlockId> free_;
};

}  // namespace skipserve
