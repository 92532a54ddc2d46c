// PrefillAttention by products of fewer bits than float32: K and V of a key block are packed once
// for all of a task's queries, or once for all tasks. Immutable; thread-safe in the scratch that is
// given.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/cpu/prefill_attention.h"
#include "kernels/cpu/scratch.h"
#include "kernels/ops.h"

namespace skipserve::cpu {

class PackedAttention {
 public:
  virtual ~PackedAttention() = default;

  // Rows of (query, head) pairs of a group in the smallest tile, in a full one, and in a task at
  // most. Tiles come in multiples of the smallest, so a task of such a multiple wastes nothing.
  struct TileShape {
    int64_t step = 0;
    int64_t full = 0;
    int64_t task = 0;
  };
  virtual TileShape tiles() const = 0;
  virtual size_t ScratchBytes(int64_t num_rows, int64_t group) const = 0;

  // Where keys are packed for all tasks of a KV head: how many make a block, and what it takes. The
  // blocks of a head lie one after the other. None: each task packs for itself.
  virtual int64_t block_keys() const { return 0; }
  virtual size_t BlockBytes() const { return 0; }
  virtual void Pack(const KvSegment&, int64_t /*kv_head*/, int64_t /*block*/, const KvPool&,
                    Scratch&, std::byte* /*to*/) const {}

  virtual void Run(const PrefillTask& task, TensorView q, int64_t group, const KvPool& pool,
                   void* scratch, TensorView out) const = 0;
};

}  // namespace skipserve::cpu
