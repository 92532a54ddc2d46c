// The oracle: every operation of ops.h as scalar float32 loops that read like their definition.
// Sequential and deterministic; a row's result never depends on another row. Not meant to be fast.
// Not thread-safe.
#pragma once

#include <memory>
#include <string>

#include "kernels/ops.h"

namespace skipserve {

// Values as the matrix product sees them: other types' weights are rounded and kept as float32.
class ReferenceWeight : public Weight {
 public:
  ReferenceWeight(int64_t out_features, int64_t in_features, WeightType type, Buffer values)
      : out_features_(out_features),
        in_features_(in_features),
        type_(type),
        values_(std::move(values)) {}

  int64_t out_features() const override { return out_features_; }
  int64_t in_features() const override { return in_features_; }
  size_t bytes() const override { return values_.bytes(); }
  WeightType type() const { return type_; }
  const float* Row(int64_t row) const { return values_.f32() + row * in_features_; }

 private:
  int64_t out_features_;
  int64_t in_features_;
  WeightType type_;
  Buffer values_;
};

// As kInt8 rounds a row.
void RoundToInt8(float* row, int64_t n);

class ReferenceOps : public Ops {
 public:
  std::string name() const override { return "reference"; }
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
                       TensorView out) override {
    PrefillAttention(q, segments, pool, out);
  }

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
};

}  // namespace skipserve
