// Any backend with a stopwatch: how long each operation took, and how much arithmetic and memory it
// stood for. For backends that compute before they return, as those of the host do.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "kernels/ops.h"

namespace skipserve {

struct OpTally {
  int64_t calls = 0;
  double seconds = 0;
  double flops = 0;  // of products, two for a multiplication and its addition; else 0
  double bytes = 0;  // of weights, caches and rows, each counted once a call
};

// By name: "FeedForward 3072x576", "PrefillAttention", ...
using OpTallies = std::map<std::string, OpTally>;

class ProfiledOps : public Ops {
 public:
  explicit ProfiledOps(std::unique_ptr<Ops> ops) : ops_(std::move(ops)) {}

  // What has been counted since the last call. On the thread that computes, or while nothing does.
  OpTallies Take() { return std::exchange(tallies_, {}); }

  std::string name() const override { return ops_->name(); }
  absl::Status CheckHeadDim(int32_t head_dim) const override {
    return ops_->CheckHeadDim(head_dim);
  }
  absl::StatusOr<Buffer> Allocate(size_t bytes) override;
  void Upload(const void* host, void* device, size_t bytes) override;
  void Download(const void* device, void* host, size_t bytes) override;
  absl::StatusOr<std::unique_ptr<Weight>> LoadWeight(const WeightSource& source, WeightType type,
                                                     WeightUse use) override;
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
  void KvWrite(TensorView k, TensorView v, absl::Span<const KvSegment> segments,
               const KvPool& pool) override;
  void PrefillAttention(TensorView q, absl::Span<const KvSegment> segments, const KvPool& pool,
                        TensorView out) override;
  void DecodeAttention(TensorView q, absl::Span<const KvSegment> segments, const KvPool& pool,
                       TensorView out) override;
  void StatesWrite(TensorView x, IndexView blocks, DType dtype, const KvPool& pool) override;
  void StatesRead(IndexView blocks, DType dtype, const KvPool& pool, TensorView x) override;
  void RoundRows(TensorView x, DType dtype) override;
  void ProbeScores(TensorView q, TensorView k, const ProbeParams& params, float* scores) override;
  void RowDotSqrt(TensorView a, TensorView b, float* out) override;
  void Multiply(const float* a, const float* b, int64_t n, float* out) override;
  void MaxScaled(const float* a, const float* b, float scale, int64_t n, float* out) override;
  void SelectTop(const float* scores, int64_t n, int64_t count, int64_t always_head,
                 int64_t always_tail, int32_t* rows_out) override;

 private:
  struct Work {
    double flops = 0;
    double bytes = 0;
  };
  template <class Call>
  auto Timed(const std::string& name, Work work, Call call);

  std::unique_ptr<Ops> ops_;
  OpTallies tallies_;
};

}  // namespace skipserve
