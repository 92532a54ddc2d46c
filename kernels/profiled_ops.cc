#include "kernels/profiled_ops.h"

#include <chrono>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "kernels/chosen_rows.h"

namespace skipserve {
namespace {

double Bytes(TensorView x) { return 4.0 * static_cast<double>(x.rows * x.cols); }

double MatMulFlops(TensorView a, TensorView out) {
  return 2.0 * static_cast<double>(a.rows) * a.cols * out.cols;
}

std::string WithShape(const char* name, const Weight& w) {
  return absl::StrCat(name, " ", w.out_features(), "x", w.in_features());
}

// Both products of each query with each key that it sees.
double AttentionFlops(TensorView q, absl::Span<const KvSegment> segments) {
  double pairs = 0;
  for (const KvSegment& s : segments) {
    pairs +=
        static_cast<double>(s.row_count) * (s.kv_len - (static_cast<double>(s.row_count) - 1) / 2);
  }
  return 4.0 * static_cast<double>(q.cols) * pairs;
}

double CacheBytes(absl::Span<const KvSegment> segments, const KvLayout& layout) {
  double tokens = 0;
  for (const KvSegment& s : segments) tokens += static_cast<double>(s.kv_len);
  return tokens * static_cast<double>(layout.block_bytes()) / layout.block_tokens;
}

}  // namespace

template <class Call>
auto ProfiledOps::Timed(const std::string& name, Work work, Call call) {
  struct Stop {
    OpTally& tally;
    const std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
    ~Stop() {
      tally.seconds +=
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }
  };
  OpTally& tally = tallies_[name];
  ++tally.calls;
  tally.flops += work.flops;
  tally.bytes += work.bytes;
  const Stop stop{tally};
  return call();
}

absl::StatusOr<Buffer> ProfiledOps::Allocate(size_t bytes) {
  return Timed("Allocate", {}, [&] { return ops_->Allocate(bytes); });
}

void ProfiledOps::Upload(const void* host, void* device, size_t bytes) {
  Timed("Upload", {0, double(bytes)}, [&] { ops_->Upload(host, device, bytes); });
}

void ProfiledOps::Download(const void* device, void* host, size_t bytes) {
  Timed("Download", {0, double(bytes)}, [&] { ops_->Download(device, host, bytes); });
}

absl::StatusOr<std::unique_ptr<Weight>> ProfiledOps::LoadWeight(const WeightSource& source,
                                                                WeightType type, WeightUse use) {
  return Timed("LoadWeight", {}, [&] { return ops_->LoadWeight(source, type, use); });
}

void ProfiledOps::Embed(const Weight& table, IndexView ids, TensorView out) {
  Timed("Embed", {0, Bytes(out)}, [&] { ops_->Embed(table, ids, out); });
}

void ProfiledOps::RmsNorm(TensorView x, IndexView rows, TensorView gain, float eps,
                          TensorView out) {
  Timed("RmsNorm", {0, 2 * Bytes(out)}, [&] { ops_->RmsNorm(x, rows, gain, eps, out); });
}

void ProfiledOps::MatMul(TensorView a, const Weight& w, TensorView out) {
  Timed(WithShape("MatMul", w), {MatMulFlops(a, out), Bytes(a) + Bytes(out) + double(w.bytes())},
        [&] { ops_->MatMul(a, w, out); });
}

void ProfiledOps::NormMatMul(TensorView x, IndexView rows, TensorView gain, float eps,
                             absl::Span<const Projection> projections) {
  const TensorView read(x.data, CountOf(x, rows), x.cols);
  Work work{0, Bytes(read)};
  std::string name = "NormMatMul";
  for (const Projection& p : projections) {
    absl::StrAppend(&name, &p == projections.data() ? " " : "+", p.w->out_features());
    work.flops += MatMulFlops(read, p.out);
    work.bytes += Bytes(p.out) + static_cast<double>(p.w->bytes());
  }
  Timed(absl::StrCat(name, "x", x.cols), work,
        [&] { ops_->NormMatMul(x, rows, gain, eps, projections); });
}

void ProfiledOps::MatMulAdd(TensorView a, const Weight& w, TensorView x, IndexView rows) {
  const TensorView changed(x.data, a.rows, x.cols);
  Timed(WithShape("MatMulAdd", w),
        {MatMulFlops(a, x), Bytes(a) + 2 * Bytes(changed) + double(w.bytes())},
        [&] { ops_->MatMulAdd(a, w, x, rows); });
}

void ProfiledOps::FeedForward(TensorView x, IndexView rows, const FeedForwardWeights& w) {
  const TensorView changed(x.data, CountOf(x, rows), x.cols);
  const double weights = static_cast<double>(w.gate_up->bytes() + w.down->bytes());
  const double flops = 6.0 * static_cast<double>(changed.rows) * x.cols * w.down->in_features();
  Timed(WithShape("FeedForward", *w.gate_up), {flops, 2 * Bytes(changed) + weights},
        [&] { ops_->FeedForward(x, rows, w); });
}

void ProfiledOps::DecodeMatMul(TensorView a, const Weight& w, TensorView out) {
  Timed(WithShape("DecodeMatMul", w),
        {MatMulFlops(a, out), Bytes(a) + Bytes(out) + double(w.bytes())},
        [&] { ops_->DecodeMatMul(a, w, out); });
}

void ProfiledOps::AddBias(TensorView x, TensorView bias) {
  Timed("AddBias", {0, 2 * Bytes(x)}, [&] { ops_->AddBias(x, bias); });
}

void ProfiledOps::Rope(TensorView x, IndexView positions, const RopeTable& table,
                       int32_t head_dim) {
  Timed("Rope", {0, 2 * Bytes(x)}, [&] { ops_->Rope(x, positions, table, head_dim); });
}

void ProfiledOps::SwiGlu(TensorView gate_up, TensorView out) {
  Timed("SwiGlu", {0, Bytes(gate_up) + Bytes(out)}, [&] { ops_->SwiGlu(gate_up, out); });
}

void ProfiledOps::AddRows(TensorView x, IndexView rows, TensorView delta) {
  Timed("AddRows", {0, 3 * Bytes(delta)}, [&] { ops_->AddRows(x, rows, delta); });
}

void ProfiledOps::GatherRows(TensorView x, IndexView rows, TensorView out) {
  Timed("GatherRows", {0, 2 * Bytes(out)}, [&] { ops_->GatherRows(x, rows, out); });
}

void ProfiledOps::GatherIndex(IndexView values, IndexView rows, int32_t* out) {
  Timed("GatherIndex", {}, [&] { ops_->GatherIndex(values, rows, out); });
}

void ProfiledOps::KvWrite(TensorView k, TensorView v, absl::Span<const KvSegment> segments,
                          const KvPool& pool) {
  Timed("KvWrite", {0, Bytes(k) + Bytes(v)}, [&] { ops_->KvWrite(k, v, segments, pool); });
}

void ProfiledOps::PrefillAttention(TensorView q, absl::Span<const KvSegment> segments,
                                   const KvPool& pool, TensorView out) {
  Timed("PrefillAttention", {AttentionFlops(q, segments), CacheBytes(segments, pool.layout)},
        [&] { ops_->PrefillAttention(q, segments, pool, out); });
}

void ProfiledOps::DecodeAttention(TensorView q, absl::Span<const KvSegment> segments,
                                  const KvPool& pool, TensorView out) {
  Timed("DecodeAttention", {AttentionFlops(q, segments), CacheBytes(segments, pool.layout)},
        [&] { ops_->DecodeAttention(q, segments, pool, out); });
}

void ProfiledOps::StatesWrite(TensorView x, IndexView blocks, DType dtype, const KvPool& pool) {
  Timed("StatesWrite", {0, 2 * Bytes(x)}, [&] { ops_->StatesWrite(x, blocks, dtype, pool); });
}

void ProfiledOps::StatesRead(IndexView blocks, DType dtype, const KvPool& pool, TensorView x) {
  Timed("StatesRead", {0, 2 * Bytes(x)}, [&] { ops_->StatesRead(blocks, dtype, pool, x); });
}

void ProfiledOps::RoundRows(TensorView x, DType dtype) {
  Timed("RoundRows", {0, 2 * Bytes(x)}, [&] { ops_->RoundRows(x, dtype); });
}

void ProfiledOps::ProbeScores(TensorView q, TensorView k, const ProbeParams& params,
                              float* scores) {
  Timed("ProbeScores", {2.0 * static_cast<double>(q.rows) * q.cols * k.rows, Bytes(q) + Bytes(k)},
        [&] { ops_->ProbeScores(q, k, params, scores); });
}

void ProfiledOps::RowDotSqrt(TensorView a, TensorView b, float* out) {
  Timed("RowDotSqrt", {0, Bytes(a) + Bytes(b)}, [&] { ops_->RowDotSqrt(a, b, out); });
}

void ProfiledOps::Multiply(const float* a, const float* b, int64_t n, float* out) {
  Timed("Multiply", {}, [&] { ops_->Multiply(a, b, n, out); });
}

void ProfiledOps::MaxScaled(const float* a, const float* b, float scale, int64_t n, float* out) {
  Timed("MaxScaled", {}, [&] { ops_->MaxScaled(a, b, scale, n, out); });
}

void ProfiledOps::SelectTop(const float* scores, int64_t n, int64_t count, int64_t always_head,
                            int64_t always_tail, int32_t* rows_out) {
  Timed("SelectTop", {},
        [&] { ops_->SelectTop(scores, n, count, always_head, always_tail, rows_out); });
}

}  // namespace skipserve
