// The paged KV cache and causal attention over it, cut into tasks: prompts by blocks of queries,
// decode steps by splits of the cache.
#include <algorithm>
#include <cassert>
#include <iterator>
#include <vector>

#include "kernels/cpu/bf16_attention.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/decode_attention.h"
#include "kernels/cpu/int8_attention.h"
#include "kernels/cpu/kv_codes.h"
#include "kernels/cpu/native_bf16.h"
#include "kernels/cpu/prefill_attention.h"
#include "kernels/cpu/row_kernels.h"
#include "kernels/cpu/vnni_ready.h"
#include "kernels/kv_slot.h"

namespace skipserve::cpu {
namespace {

constexpr int64_t kTaskPanels = 16;        // of queries that share one pass over K and V, at most
constexpr int64_t kTasksPerThread = 8;     // so that the threads end together
constexpr size_t kPackedBytes = 16 << 20;  // of packed keys held at once
constexpr int64_t kPackedTasksPerThread = 3;  // fewer, most pack K and V for themselves

constexpr int64_t kPiecesPerThread = 4;
constexpr int64_t kPartialFloats = 8 * 1024 * 1024;  // of split results held at once

// One KV head's K (or V) of a token.
void StoreVector(const float* from, const KvPool& pool, const KvSegment& segment, int64_t token,
                 int64_t kv_head, bool is_v) {
  std::byte* const to = KvSlot(pool, segment, token, kv_head, is_v);
  const int64_t n = pool.layout.head_dim;
  switch (pool.layout.dtype) {
    case DType::kF32:
      std::copy_n(from, n, reinterpret_cast<float*>(to));
      break;
    case DType::kBF16:
      RoundToBf16(from, n, reinterpret_cast<uint16_t*>(to));
      break;
    case DType::kInt8:
      EncodeKv(from, n, reinterpret_cast<int8_t*>(to),
               KvScales(pool, segment, token, kv_head, is_v));
      break;
  }
}

void CheckShapes([[maybe_unused]] TensorView q, [[maybe_unused]] const KvPool& pool,
                 [[maybe_unused]] TensorView out) {
  assert(pool.layout.head_dim % 8 == 0 && out.cols == q.cols);
  assert(q.cols % (pool.layout.kv_heads * pool.layout.head_dim) == 0);
}

}  // namespace

void CpuOps::KvWrite(TensorView k, TensorView v, absl::Span<const KvSegment> segments,
                     const KvPool& pool) {
  const KvLayout& layout = pool.layout;
  assert(k.cols == layout.kv_heads * layout.head_dim && v.cols == k.cols);
  for (const KvSegment& s : segments) {
    ForRows(s.row_count, 2 * k.cols, [&](int64_t i) {
      const int64_t token = s.kv_len - s.row_count + i;
      for (int64_t h = 0; h < layout.kv_heads; ++h) {
        const int64_t col = h * layout.head_dim;
        StoreVector(k.data + (s.row_begin + i) * k.stride + col, pool, s, token, h, false);
        StoreVector(v.data + (s.row_begin + i) * v.stride + col, pool, s, token, h, true);
      }
    });
  }
}

// The fastest kernel that may be used for this pool, made on first use, or null where the float32
// one has to do.
const PackedAttention* CpuOps::FindPackedAttention(const KvLayout& layout) {
  if (layout.dtype == DType::kF32) return nullptr;
  if (packed_dim_ != layout.head_dim) {
    const int64_t dim = packed_dim_ = layout.head_dim;
    packed_attention_ = int8_attention_ && VnniIsBest() ? MakeInt8Attention(dim) : nullptr;
    if (packed_attention_ == nullptr && CpuHasFastBf16()) {
      packed_attention_ = MakeBf16Attention(dim);
    }
  }
  return packed_attention_.get();
}

void CpuOps::PrefillAttention(TensorView q, absl::Span<const KvSegment> segments,
                              const KvPool& pool, TensorView out) {
  CheckShapes(q, pool, out);
  const PackedAttention* const packed = FindPackedAttention(pool.layout);
  const int64_t block_keys = packed ? packed->block_keys() : 0;
  const size_t block_bytes = packed ? packed->BlockBytes() : 0;
  // As many heads at once as their packed keys have room for, one at least.
  std::vector<Head> heads;
  size_t num_blocks = 0;
  for (const KvSegment& s : segments) {
    const size_t more = block_keys == 0 ? 0 : (s.kv_len + block_keys - 1) / block_keys;
    for (int64_t h = 0; h < pool.layout.kv_heads && s.row_count > 0; ++h) {
      if (num_blocks > 0 && (num_blocks + more) * block_bytes > kPackedBytes) {
        RunPrefill(packed, heads, num_blocks, q, pool, out);
        heads.clear();
        num_blocks = 0;
      }
      heads.push_back({&s, h, num_blocks});
      num_blocks += more;
    }
  }
  RunPrefill(packed, heads, num_blocks, q, pool, out);
}

void CpuOps::RunPrefill(const PackedAttention* packed, absl::Span<const Head> heads,
                        size_t num_blocks, TensorView q, const KvPool& pool, TensorView out) {
  const size_t block_bytes = packed ? packed->BlockBytes() : 0;
  auto* const keys = static_cast<std::byte*>(shared_.Bytes(num_blocks * block_bytes));
  pool_.ParallelFor(static_cast<int64_t>(num_blocks), [&](int64_t i, int thread) {
    const auto after = std::upper_bound(heads.begin(), heads.end(), static_cast<size_t>(i),
                                        [](size_t n, const Head& h) { return n < h.first_block; });
    const Head& head = *std::prev(after);
    packed->Pack(*head.segment, head.kv_head, i - static_cast<int64_t>(head.first_block), pool,
                 scratch_[thread], keys + i * block_bytes);
  });

  const PackedAttention::TileShape shape = packed ? packed->tiles() : PackedAttention::TileShape{};
  const int64_t tile = packed ? shape.step : PrefillTileColumns();
  const int64_t full = packed ? shape.full / shape.step : 1;
  const int64_t most_tiles = packed ? shape.task / shape.step : kTaskPanels;
  const int64_t num_tasks = (packed ? kPackedTasksPerThread : kTasksPerThread) * pool_.threads();
  const int64_t group = q.cols / pool.layout.head_dim / pool.layout.kv_heads;
  int64_t columns = 0;
  for (const Head& h : heads) columns += h.segment->row_count * group;
  int64_t tiles = std::clamp<int64_t>(columns / (tile * num_tasks), 1, most_tiles);
  if (tiles > full) tiles -= tiles % full;  // a large task is of full tiles
  const int64_t rows = std::max<int64_t>(1, tiles * tile / group);

  std::vector<PrefillTask> tasks;
  for (const Head& h : heads) {
    for (int64_t row = 0; row < h.segment->row_count; row += rows) {
      const int64_t count = std::min(rows, h.segment->row_count - row);
      tasks.push_back({h.segment, h.kv_head, row, count, keys + h.first_block * block_bytes});
    }
  }
  const auto cost = [](const PrefillTask& t) {
    return t.num_rows * (t.segment->kv_len - t.segment->row_count + t.first_row + t.num_rows);
  };
  std::stable_sort(tasks.begin(), tasks.end(), [&](const PrefillTask& a, const PrefillTask& b) {
    return cost(a) > cost(b);  // the longest first, or the last one keeps everybody waiting
  });
  pool_.ParallelFor(static_cast<int64_t>(tasks.size()), [&](int64_t i, int thread) {
    const PrefillTask& t = tasks[i];
    Scratch& scratch = scratch_[thread];
    if (packed != nullptr) {
      packed->Run(t, q, group, pool, scratch.Bytes(packed->ScratchBytes(t.num_rows, group)), out);
    } else {
      void* const bytes = scratch.Bytes(PrefillScratchBytes(t.num_rows, group, pool.layout));
      cpu::PrefillAttention(t, q, group, pool, bytes, out);
    }
  });
}

void CpuOps::DecodeAttention(TensorView q, absl::Span<const KvSegment> segments, const KvPool& pool,
                             TensorView out) {
  CheckShapes(q, pool, out);
  const int64_t dim = pool.layout.head_dim;
  const int64_t kv_heads = pool.layout.kv_heads;
  const int64_t group = q.cols / dim / kv_heads;
  const int64_t partial = DecodePartialFloats(dim);
  struct Task {
    const KvSegment* segment;
    int64_t kv_head;
    int64_t split;
    int64_t splits;
    float* partials;  // [row_count * group, splits, partial] of this segment and KV head
  };
  std::vector<Task> splits, merges;
  for (size_t next = 0; next < segments.size();) {
    // As many segments at once as their partial results have room for, one at least.
    const size_t first = next;
    int64_t floats = 0;
    const auto need = [&](const KvSegment& s) {
      const int64_t num_splits = (s.kv_len + kDecodeSplit - 1) / kDecodeSplit;
      return s.row_count * group * kv_heads * num_splits * partial;
    };
    do {
      floats += need(segments[next++]);
    } while (next < segments.size() && floats + need(segments[next]) <= kPartialFloats);

    float* base = shared_.Floats(floats);
    splits.clear();
    merges.clear();
    for (const KvSegment& s : segments.subspan(first, next - first)) {
      if (s.row_count == 0) continue;
      const int64_t num_splits = (s.kv_len + kDecodeSplit - 1) / kDecodeSplit;
      const int64_t head_floats = s.row_count * group * num_splits * partial;
      for (int64_t i = 0; i < num_splits; ++i) {
        for (int64_t h = 0; h < kv_heads; ++h) {
          splits.push_back({&s, h, i, num_splits, base + h * head_floats});
        }
      }
      for (int64_t h = 0; h < kv_heads; ++h, base += head_floats) {
        merges.push_back({&s, h, 0, num_splits, base});
      }
    }
    if (merges.empty()) continue;
    // Of 8 bits all heads of a split are one piece where there are enough of them: what is read
    // next is fetched beside then.
    const int64_t num_tasks = static_cast<int64_t>(splits.size());
    const bool together = pool.layout.dtype == DType::kInt8 &&
                          num_tasks >= kPiecesPerThread * kv_heads * pool_.threads();
    const int64_t heads = together ? kv_heads : 1;
    pool_.ParallelFor(num_tasks / heads, [&](int64_t piece, int thread) {
      float* const room = scratch_[thread].Floats(DecodeRoomFloats(pool.layout));
      for (int64_t i = piece * heads; i < (piece + 1) * heads; ++i) {
        const Task& t = splits[i];
        DecodeSplit(*t.segment, t.kv_head, t.split, q, group, pool, i + 1 < (piece + 1) * heads,
                    room, t.partials + t.split * partial, t.splits * partial);
      }
    });
    ForRows(static_cast<int64_t>(merges.size()), merges.front().splits * group * partial,
            [&](int64_t i) {
              const Task& t = merges[i];
              for (int64_t query = 0; query < t.segment->row_count * group; ++query) {
                const int64_t row = t.segment->row_begin + query / group;
                const int64_t head = t.kv_head * group + query % group;
                MergeSplits(t.partials + query * t.splits * partial, t.splits, partial, dim,
                            out.data + row * out.stride + head * dim);
              }
            });
  }
}

}  // namespace skipserve::cpu
