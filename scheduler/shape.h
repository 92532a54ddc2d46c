// What follows from a sequence's shape alone: whether it makes sense, and how much KV it can come
// to hold. Pure arithmetic, safe for any numbers a client can cause.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "scheduler/types.h"

namespace skipserve {

// INVALID_ARGUMENT naming the first field that contradicts the others.
absl::Status CheckShape(const SequenceShape& shape, int32_t layers);

// Most tokens that layer `layer` ever caches. The last of the new tokens is never written: nothing
// is computed after it.
int64_t KvLimit(const SequenceShape& shape, int32_t layer);

// Blocks that hold `tokens` tokens.
inline int64_t BlocksFor(int64_t tokens, int32_t block_tokens) {
  return tokens / block_tokens + (tokens % block_tokens != 0);
}

// Sum over layers of the blocks of KvLimit, were max_new_tokens `new_tokens`; the largest int64_t
// where the sum is beyond it.
int64_t BlocksFor(const SequenceShape& shape, int64_t new_tokens, int32_t block_tokens);

}  // namespace skipserve
