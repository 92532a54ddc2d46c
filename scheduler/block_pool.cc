// The free list is a stack: the blocks given back last are taken first, while caches still know
// them. Not thread-safe.
#include "scheduler/block_pool.h"

#include <algorithm>

namespace skipserve {

BlockPool::BlockPool(int64_t num_blocks) : total_(std::max<int64_t>(num_blocks, 0)) {
  free_.reserve(total_);
  for (int64_t block = total_ - 1; block >= 0; --block) {
    free_.push_back(static_cast<BlockId>(block));
  }
}

bool BlockPool::Take(int64_t count, std::vector<BlockId>& blocks) {
  if (count > free()) return false;
  for (int64_t i = 0; i < count; ++i) {
    blocks.push_back(free_.back());
    free_.pop_back();
  }
  return true;
}

void BlockPool::Give(std::vector<BlockId>& blocks) {
  // In reverse, so that the next table gets them in the order in which this one held them.
  free_.insert(free_.end(), blocks.rbegin(), blocks.rend());
  blocks.clear();
}

}  // namespace skipserve
