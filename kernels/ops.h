// Ops: the written contract of every tensor operation the decoder and the skipping module need.
//
// A backend (reference, cpu, cuda) implements all of it. Callers hold views of the backend's memory
// and never read an element themselves: what the host must see comes through Download, what the
// device must see goes through Upload. Calls on one Ops come from one thread at a time and take
// effect in the order of the calls; a backend may run them asynchronously, so host memory given to
// Upload is copied before it returns and Download waits for its source. A Buffer may be dropped
// while calls that use it are pending: its memory is free again after them. Outputs must not
// overlap inputs unless the comment says "may alias". Sizes of zero rows are allowed everywhere and
// do nothing. Shapes are the caller's promise (checked by assertions in debug builds only).
// Allocation can fail, and says so; any other call that cannot be carried out throws.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/tensor.h"

namespace skipserve {

// A weight matrix [out_features, in_features] in the backend's own packing. Made by
// Ops::LoadWeight, immutable.
class Weight {
 public:
  virtual ~Weight() = default;
  virtual int64_t out_features() const = 0;
  virtual int64_t in_features() const = 0;
  virtual size_t bytes() const = 0;  // memory held
};

// What a weight is loaded for.
enum class WeightUse {
  kAll,
  kGated,   // FeedForward's gates, and all of the above
  kDecode,  // Embed and DecodeMatMul only
};

// Rows [rows, in_features] of values of 4 bits: value = scale * code + minimum.
struct FourBitRows {
  static constexpr int64_t kGroup = 32;  // inputs that share a scale and a minimum
  uint8_t* codes = nullptr;              // [rows, in_features], 0 to 15
  float* scales = nullptr;               // [rows, in_features / kGroup]
  float* minima = nullptr;               // likewise

  FourBitRows From(int64_t row, int64_t in_features) const {
    const int64_t groups = row * (in_features / kGroup);
    return {codes + groups * kGroup, scales + groups, minima + groups};
  }
};

// Where a weight comes from: `read(row_begin, row_count, out)` writes float32 rows [row_count,
// in_features] to host memory; it may be called from several threads, for any rows, in any order.
struct WeightSource {
  int64_t out_features = 0;
  int64_t in_features = 0;
  std::function<void(int64_t row_begin, int64_t row_count, float* out)> read;
  // The same rows, where they are kept in 4 bits; else null.
  std::function<void(int64_t row_begin, int64_t row_count, const FourBitRows& out)>
      read_four_bits{};
};

// How a KV block lies in memory. A block holds `block_tokens` tokens of one layer of one sequence:
// K as [kv_heads, block_tokens, head_dim], then V in the same shape, elements of `dtype`; and in 8
// bits their scales, bf16, as [2, kv_heads, block_tokens, groups()]: an element is its code times
// its group's scale (kernels/kv_codes.h).
struct KvLayout {
  // Elements of a head that share a scale; the last group may have fewer.
  static constexpr int32_t kGroup = 32;

  DType dtype = DType::kF32;
  int32_t block_tokens = 32;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;

  int32_t groups() const { return (head_dim + kGroup - 1) / kGroup; }
  // Of a block's elements, without their scales.
  size_t value_bytes() const { return vectors() * head_dim * DTypeBytes(dtype); }
  size_t block_bytes() const {
    return value_bytes() + (dtype == DType::kInt8 ? vectors() * groups() * sizeof(uint16_t) : 0);
  }
  // Of a token in one layer.
  size_t token_bytes() const { return block_bytes() / block_tokens; }

 private:
  size_t vectors() const { return size_t{2} * block_tokens * kv_heads; }
};

// The memory of all KV blocks: block b starts at data + b * layout.block_bytes().
struct KvPool {
  void* data = nullptr;
  KvLayout layout;
};

// Columns of block_tokens hidden states that one block holds, and blocks for all `width` of them.
inline int64_t StateColumns(const KvLayout& layout, DType dtype) {
  return static_cast<int64_t>(layout.block_bytes() / (layout.block_tokens * DTypeBytes(dtype)));
}
inline int32_t StateBlocks(const KvLayout& layout, int64_t width, DType dtype) {
  const int64_t columns = StateColumns(layout, dtype);
  return static_cast<int32_t>((width + columns - 1) / columns);
}

// Rows [row_begin, row_begin + row_count) of a batch belong to one sequence; token t of its cache
// (0 <= t < kv_len) is slot t % block_tokens of block blocks[t / block_tokens]. `blocks` is in
// backend memory.
struct KvSegment {
  int64_t row_begin = 0;
  int64_t row_count = 0;
  int64_t kv_len = 0;  // tokens in the cache once this batch's rows are in it
  IndexView blocks;
};

// Rotary embedding tables: cos and sin as [max_positions, head_dim / 2] each.
struct RopeTable {
  TensorView cos;
  TensorView sin;
};

// One of several products of the same rows: out = rows W^T.
struct Projection {
  const Weight* w = nullptr;  // loaded for kAll
  TensorView out;
};

// SwiGLU between two products: W_down (silu(W_gate h) * (W_up h)), h = RmsNorm(x).
struct FeedForwardWeights {
  TensorView gain;  // [1, width]
  float eps = 0;
  const Weight* gate_up = nullptr;  // [2 f, width], the gate's rows first; loaded for kGated
  const Weight* down = nullptr;     // [width, f]; loaded for kAll
};

enum class Reduce { kMean, kMax };

// How the attention probe turns query-key scores into one score per candidate (METHOD: PAP).
struct ProbeParams {
  int32_t heads = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
  Reduce window_reduce = Reduce::kMax;  // over the window's queries, first
  Reduce head_reduce = Reduce::kMax;    // over the query heads, second
  int32_t pool = 1;  // odd width of max-pooling over neighbouring candidates, last
};

class Ops {
 public:
  virtual ~Ops() = default;

  virtual std::string name() const = 0;

  // INVALID_ARGUMENT where the backend has no kernels for heads of this size.
  virtual absl::Status CheckHeadDim(int32_t head_dim) const = 0;

  // --- memory
  // -----------------------------------------------------------------------------------------------------
  // Uninitialised, aligned to 64 bytes. RESOURCE_EXHAUSTED where the memory is not to be had. The
  // Ops outlives it.
  virtual absl::StatusOr<Buffer> Allocate(size_t bytes) = 0;
  virtual void Upload(const void* host, void* device, size_t bytes) = 0;
  virtual void Download(const void* device, void* host, size_t bytes) = 0;
  // Stores `source` as `type` (kF32 exact; kBF16 rounded to nearest even; kInt8 with the largest
  // magnitude of a row at 127; kInt4, of a source in 4 bits only, with its own codes, their scales
  // and minima rounded to float16).
  virtual absl::StatusOr<std::unique_ptr<Weight>> LoadWeight(const WeightSource& source,
                                                             WeightType type, WeightUse use) = 0;

  // --- the decoder
  // ------------------------------------------------------------------------------------------------
  // out[i] = table[ids[i]]. out [ids.size, width].
  virtual void Embed(const Weight& table, IndexView ids, TensorView out) = 0;

  // out[i] = x[r] / sqrt(mean(x[r]^2) + eps) * gain, r = rows[i]; with empty `rows`, r = i. gain
  // [1, width].
  virtual void RmsNorm(TensorView x, IndexView rows, TensorView gain, float eps,
                       TensorView out) = 0;

  // out = a W^T for rows of prompts. a [m, in_features], out [m, out_features]. A row's result
  // depends neither on the other rows nor on their number, so a prompt read in any chunks gives the
  // same states, bit for bit. `w` was loaded for kAll.
  virtual void MatMul(TensorView a, const Weight& w, TensorView out) = 0;

  // Every projection of RmsNorm's out: bit for bit as RmsNorm and MatMul in turn, in one pass where
  // the backend can.
  virtual void NormMatMul(TensorView x, IndexView rows, TensorView gain, float eps,
                          absl::Span<const Projection> projections) = 0;

  // x[r] += row i of a W^T, r = rows[i] (distinct); with empty `rows`, r = i. Bit for bit as MatMul
  // and AddRows in turn.
  virtual void MatMulAdd(TensorView a, const Weight& w, TensorView x, IndexView rows) = 0;

  // x[r] += FFN(x[r]), r = rows[i] (distinct); with empty `rows`, all of x. Bit for bit as RmsNorm,
  // MatMul, SwiGlu and MatMulAdd in turn, in one pass where the backend can.
  virtual void FeedForward(TensorView x, IndexView rows, const FeedForwardWeights& w) = 0;

  // The same as MatMul for a decode step, m <= kMaxDecodeRows rows of one sequence each: again a
  // row's result is its own, but it may be rounded otherwise than MatMul's.
  virtual void DecodeMatMul(TensorView a, const Weight& w, TensorView out) = 0;
  static constexpr int64_t kMaxDecodeRows = 32;

  // x[i] += bias. bias [1, cols].
  virtual void AddBias(TensorView x, TensorView bias) = 0;

  // Rotates each head of x [num_tokens, num_heads * head_dim] in place: with a = table row
  // positions[i] and half = head_dim / 2, (x[j], x[j + half]) -> (x[j] cos - x[j + half] sin, x[j +
  // half] cos + x[j] sin). "NeoX" order.
  virtual void Rope(TensorView x, IndexView positions, const RopeTable& table,
                    int32_t head_dim) = 0;

  // out = silu(gate_up[:, :f]) * gate_up[:, f:]. gate_up [m, 2 f], out [m, f].
  virtual void SwiGlu(TensorView gate_up, TensorView out) = 0;

  // x[r] += delta[i], r = rows[i] (distinct); with empty `rows`, r = i.
  virtual void AddRows(TensorView x, IndexView rows, TensorView delta) = 0;

  // out[i] = x[rows[i]].
  virtual void GatherRows(TensorView x, IndexView rows, TensorView out) = 0;

  // out.data[i] = values.data[rows.data[i]], out holds rows.size values.
  virtual void GatherIndex(IndexView values, IndexView rows, int32_t* out) = 0;

  // Stores K and V rows [num_rows, kv_heads * head_dim] of each segment into the last row_count
  // slots of its cache, as the layout's type. In 8 bits an element that is not finite makes its
  // whole group NaN.
  virtual void KvWrite(TensorView k, TensorView v, absl::Span<const KvSegment> segments,
                       const KvPool& pool) = 0;

  // Causal attention of each segment's rows over its cache: row i of the segment sees the cache's
  // tokens 0 .. kv_len - row_count + i. q, out [num_rows, heads * head_dim]; query head h reads KV
  // head h / (heads / kv_heads); scores are scaled by 1 / sqrt(head_dim). The cache already holds
  // these rows' own K and V. For rows of prompts; as with MatMul a row's result depends on nothing
  // but its query and its cache. Where it sees a K or V that is not finite it may be NaN.
  virtual void PrefillAttention(TensorView q, absl::Span<const KvSegment> segments,
                                const KvPool& pool, TensorView out) = 0;

  // The same for a decode step: segments of one row, or of very few. In both a V that is not finite
  // may reach all rows of its segment.
  virtual void DecodeAttention(TensorView q, absl::Span<const KvSegment> segments,
                               const KvPool& pool, TensorView out) = 0;

  // --- hidden states in KV blocks, for the prefix cache
  // Keeps x [n * block_tokens, width] in blocks of the pool as `dtype`: n groups of
  // StateBlocks(layout, width, dtype) blocks, a group for block_tokens rows. Whatever K and V were
  // in them are gone. blocks.size is n groups'.
  virtual void StatesWrite(TensorView x, IndexView blocks, DType dtype, const KvPool& pool) = 0;

  // The inverse: x = what StatesWrite kept.
  virtual void StatesRead(IndexView blocks, DType dtype, const KvPool& pool, TensorView x) = 0;

  // x = x as StatesWrite and StatesRead would give it back; for kF32 nothing changes.
  virtual void RoundRows(TensorView x, DType dtype) = 0;

  // --- skipping
  // ---------------------------------------------------------------------------------------------------
  // The attention probe. q [window, heads * head_dim]: queries of the last `window` candidates,
  // with RoPE; k [candidates, kv_heads * head_dim], with RoPE. Query w may see candidates 0 ..
  // candidates - window + w. For each query and head a softmax over the candidates it sees (unseen:
  // 0), then the reductions of `params`. scores: `candidates` floats out.
  virtual void ProbeScores(TensorView q, TensorView k, const ProbeParams& params,
                           float* scores) = 0;

  // out[i] = sqrt(max(0, sum_j a[i, j] * b[i, j])): the proxy's norm from a and a G, or a plain
  // norm where a == b.
  virtual void RowDotSqrt(TensorView a, TensorView b, float* out) = 0;

  // out[i] = a[i] * b[i], n values. out may alias a or b.
  virtual void Multiply(const float* a, const float* b, int64_t n, float* out) = 0;

  // out[i] = max(a[i], b[i] * scale), n values; a NaN on either side may or may not be the result.
  // out may alias a or b.
  virtual void MaxScaled(const float* a, const float* b, float scale, int64_t n, float* out) = 0;

  // The rows of the `count` best scores in ascending row order, into rows_out[0 .. count). Rows <
  // always_head and rows >= n - always_tail are taken first (lower rows first where even these
  // exceed count, except that the last row is always taken); ties go to the lower row. NaN counts
  // as the lowest score. 1 <= count <= n.
  virtual void SelectTop(const float* scores, int64_t n, int64_t count, int64_t always_head,
                         int64_t always_tail, int32_t* rows_out) = 0;
};

// Readable scalar code, the oracle of every other backend.
std::unique_ptr<Ops> MakeReferenceOps();

// SIMD and GEMM on the host with `threads` threads (>= 1), the calling thread included.
// `int8_attention`: attention of prompts may round queries, K and V to 8 bits, each vector rotated
// and with a scale of its own, where that is faster (AVX512-VNNI without AMX).
std::unique_ptr<Ops> MakeCpuOps(int threads, bool int8_attention = false);

}  // namespace skipserve
