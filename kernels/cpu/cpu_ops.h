// The production backend on the host: cuts each operation into tasks for its thread pool and hands
// them to the kernels beside it, which know no threads. One operation runs at a time; not
// thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cpu/buffer_cache.h"
#include "kernels/cpu/four_bit_weights.h"
#include "kernels/cpu/packed_attention.h"
#include "kernels/cpu/packed_gemm.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/cpu/tiled_weights.h"
#include "kernels/host_memory.h"
#include "kernels/ops.h"

namespace skipserve::cpu {

// Row-major values of float32 or bf16; or, of bf16 where the machine multiplies it natively and of
// int8, tiles; or blocks of 4 bits.
class CpuWeight : public Weight {
 public:
  CpuWeight(int64_t out_features, int64_t in_features, DType dtype, Buffer values)
      : out_features_(out_features),
        in_features_(in_features),
        dtype_(dtype),
        values_(std::move(values)) {}
  CpuWeight(std::unique_ptr<TiledWeights> tiled, std::unique_ptr<PackedGemm> gemm)
      : out_features_(tiled->n()),
        in_features_(tiled->k()),
        tiled_(std::move(tiled)),
        gemm_(std::move(gemm)) {}
  CpuWeight(std::unique_ptr<FourBitWeights> four_bits, std::unique_ptr<PackedGemm> gemm)
      : out_features_(four_bits->n()),
        in_features_(four_bits->k()),
        four_bits_(std::move(four_bits)),
        gemm_(std::move(gemm)) {}

  int64_t out_features() const override { return out_features_; }
  int64_t in_features() const override { return in_features_; }
  size_t bytes() const override {
    return tiled_ ? tiled_->bytes() : four_bits_ ? four_bits_->bytes() : values_.bytes();
  }
  const TiledWeights* tiled() const { return tiled_.get(); }            // may be null
  const FourBitWeights* four_bits() const { return four_bits_.get(); }  // may be null
  const PackedGemm* gemm() const { return gemm_.get(); }  // of one of these, may be null
  // Where there is neither:
  DType dtype() const { return dtype_; }
  const void* values() const { return values_.data(); }

 private:
  int64_t out_features_;
  int64_t in_features_;
  DType dtype_ = DType::kF32;
  Buffer values_;
  std::unique_ptr<TiledWeights> tiled_;
  std::unique_ptr<FourBitWeights> four_bits_;
  std::unique_ptr<PackedGemm> gemm_;
};

class CpuOps : public Ops {
 public:
  explicit CpuOps(int threads, bool int8_attention = false)
      : int8_attention_(int8_attention), pool_(threads), scratch_(pool_.threads()) {}

  std::string name() const override { return "cpu"; }
  absl::Status CheckHeadDim(int32_t head_dim) const override;

  // memory.cc
  absl::StatusOr<Buffer> Allocate(size_t bytes) override;
  void Upload(const void* host, void* device, size_t bytes) override;
  void Download(const void* device, void* host, size_t bytes) override;
  absl::StatusOr<std::unique_ptr<Weight>> LoadWeight(const WeightSource& source, WeightType type,
                                                     WeightUse use) override;

  // decoder.cc
  void Embed(const Weight& table, IndexView ids, TensorView out) override;
  void RmsNorm(TensorView x, IndexView rows, TensorView gain, float eps, TensorView out) override;
  void MatMul(TensorView a, const Weight& w, TensorView out) override;
  void NormMatMul(TensorView x, IndexView rows, TensorView gain, float eps,
                  absl::Span<const Projection> projections) override;
  void MatMulAdd(TensorView a, const Weight& w, TensorView x, IndexView rows) override;
  void FeedForward(TensorView x, IndexView rows, const FeedForwardWeights& w) override;
  void DecodeMatMul(TensorView a, const Weight& w, TensorView out) override;
  void AddBias(TensorView x, TensorView bias) override;
  void Rope(TensorView x, IndexView positions, const RopeTable& table, int32_t head_dim) override;
  void SwiGlu(TensorView gate_up, TensorView out) override;
  void AddRows(TensorView x, IndexView rows, TensorView delta) override;
  void GatherRows(TensorView x, IndexView rows, TensorView out) override;
  void GatherIndex(IndexView values, IndexView rows, int32_t* out) override;

  // attention.cc
  void KvWrite(TensorView k, TensorView v, absl::Span<const KvSegment> segments,
               const KvPool& pool) override;
  void PrefillAttention(TensorView q, absl::Span<const KvSegment> segments, const KvPool& pool,
                        TensorView out) override;
  void DecodeAttention(TensorView q, absl::Span<const KvSegment> segments, const KvPool& pool,
                       TensorView out) override;

  // states.cc
  void StatesWrite(TensorView x, IndexView blocks, DType dtype, const KvPool& pool) override;
  void StatesRead(IndexView blocks, DType dtype, const KvPool& pool, TensorView x) override;
  void RoundRows(TensorView x, DType dtype) override;

  // skipping.cc
  void ProbeScores(TensorView q, TensorView k, const ProbeParams& params, float* scores) override;
  void RowDotSqrt(TensorView a, TensorView b, float* out) override;
  void Multiply(const float* a, const float* b, int64_t n, float* out) override;
  void MaxScaled(const float* a, const float* b, float scale, int64_t n, float* out) override;
  void SelectTop(const float* scores, int64_t n, int64_t count, int64_t always_head,
                 int64_t always_tail, int32_t* rows_out) override;

 private:
  // Calls fn(row) for each row; `work` is what a row costs, in vector-friendly element operations.
  // Runs on the calling thread where all of it costs less than waking the others.
  template <class Fn>
  void ForRows(int64_t rows, int64_t work, Fn fn) {
    constexpr int64_t kTaskWork = 16 * 1024;  // a few microseconds
    const int64_t per_task = std::max<int64_t>(1, kTaskWork / std::max<int64_t>(work, 1));
    pool_.ParallelFor((rows + per_task - 1) / per_task, [&](int64_t task, int) {
      const int64_t end = std::min(rows, (task + 1) * per_task);
      for (int64_t row = task * per_task; row < end; ++row) fn(row);
    });
  }

  // Calls fn(begin, end) for blocks of 64 outputs. One is tens of KiB of weights, a task's worth;
  // but claiming a task costs as much as loading the tiles' shape, so several where there are many.
  template <class Fn>
  void ForBlocks(int64_t blocks, Fn fn) {
    const int64_t step = std::clamp<int64_t>(blocks / (8 * pool_.threads()), 1, 16);
    pool_.ParallelFor((blocks + step - 1) / step, [&](int64_t task, int) {
      fn(task * step, std::min(blocks, (task + 1) * step));
    });
  }

  void DecodeTiled(TensorView a, const TiledWeights& w, TensorView out);
  void DecodeFourBits(TensorView a, const FourBitWeights& w, TensorView out);
  TensorView RoundedTo(WeightType type, TensorView a, Scratch& room);
  absl::StatusOr<std::unique_ptr<Weight>> LoadFourBits(const WeightSource& source, WeightUse use);
  absl::StatusOr<std::unique_ptr<Weight>> LoadTiled(const WeightSource& source, WeightType type,
                                                    WeightUse use);
  struct Head {
    const KvSegment* segment;
    int64_t kv_head;
    size_t first_block;  // of the keys that are packed together
  };
  const PackedAttention* FindPackedAttention(const KvLayout& layout);
  void RunPrefill(const PackedAttention* packed, absl::Span<const Head> heads, size_t num_blocks,
                  TensorView q, const KvPool& pool, TensorView out);

  const bool int8_attention_;
  ThreadPool pool_;
  std::vector<Scratch> scratch_;  // one per thread
  Scratch shared_;                // of the calling thread, for all to read
  Scratch rounded_;               // likewise: activations in the weights' type
  Scratch product_;               // likewise: what is added to other rows
  std::vector<uint32_t> keys_;
  HostSlabs weights_;
  BufferCache buffers_;
  int64_t packed_dim_ = 0;  // of the heads that packed_attention_ was made for
  std::unique_ptr<PackedAttention> packed_attention_;
};

}  // namespace skipserve::cpu
