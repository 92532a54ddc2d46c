#include "tests/kernels/support.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <string>

#include "gtest/gtest.h"
#include "hwy/targets.h"
#include "kernels/half.h"

namespace skipserve::testing {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

Buffer AllocateOrDie(Ops& ops, size_t bytes) {
  absl::StatusOr<Buffer> buffer = ops.Allocate(bytes);
  EXPECT_TRUE(buffer.ok()) << buffer.status();
  return *std::move(buffer);
}

}  // namespace

Matrix Random(int64_t rows, int64_t cols, uint32_t seed, float scale) {
  std::mt19937 bits(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  Matrix m(rows, cols);
  for (float& x : m.values) x = normal(bits);
  return m;
}

std::vector<int32_t> RandomRows(int64_t count, int64_t below, uint32_t seed) {
  std::vector<int32_t> rows(below);
  std::iota(rows.begin(), rows.end(), 0);
  std::shuffle(rows.begin(), rows.end(), std::mt19937(seed));
  rows.resize(count);
  return rows;
}

Device::Device(Ops& ops, const Matrix& m, int64_t padding) : ops_(&ops) {
  const int64_t stride = m.cols + padding;
  std::vector<float> host(m.rows * stride + 1, kNan);
  for (int64_t r = 0; r < m.rows; ++r) std::copy_n(m.row(r), m.cols, host.data() + r * stride);
  buffer_ = AllocateOrDie(ops, host.size() * sizeof(float));
  ops.Upload(host.data(), buffer_.data(), host.size() * sizeof(float));
  view_ = TensorView(buffer_.f32(), m.rows, m.cols, stride);
}

Device Device::Empty(Ops& ops, int64_t rows, int64_t cols, int64_t padding) {
  return Device(ops, Matrix(rows, cols, kNan), padding);
}

Matrix Device::Get() const {
  std::vector<float> host(view_.rows * view_.stride + 1);
  ops_->Download(buffer_.data(), host.data(), host.size() * sizeof(float));
  Matrix m(view_.rows, view_.cols);
  for (int64_t r = 0; r < m.rows; ++r) {
    std::copy_n(host.data() + r * view_.stride, m.cols, m.values.data() + r * m.cols);
    for (int64_t c = m.cols; c < view_.stride; ++c) {
      EXPECT_TRUE(std::isnan(host[r * view_.stride + c])) << "written between rows";
    }
  }
  EXPECT_TRUE(std::isnan(host.back())) << "written past the end";
  return m;
}

DeviceIndex::DeviceIndex(Ops& ops, const std::vector<int32_t>& values)
    : buffer_(AllocateOrDie(ops, values.size() * sizeof(int32_t))), size_(values.size()) {
  ops.Upload(values.data(), buffer_.data(), values.size() * sizeof(int32_t));
}

FourBitMatrix::FourBitMatrix(const Matrix& w)
    : rows_(w.rows), cols_(w.cols), codes_(w.values.size()) {
  constexpr int64_t kGroup = FourBitRows::kGroup;
  for (size_t group = 0; group < w.values.size(); group += kGroup) {
    const float* const values = w.values.data() + group;
    const auto [low, high] = std::minmax_element(values, values + kGroup);
    const float minimum = HalfToF32(F32ToHalf(*low));
    const float scale = HalfToF32(F32ToHalf((*high - *low) / 15));
    for (int64_t i = 0; i < kGroup; ++i) {
      const float code = scale == 0 ? 0 : std::nearbyint((values[i] - minimum) / scale);
      codes_[group + i] = static_cast<uint8_t>(std::clamp(code, 0.0f, 15.0f));
    }
    scales_.push_back(scale);
    minima_.push_back(minimum);
  }
}

Matrix FourBitMatrix::Values() const {
  Matrix m(rows_, cols_);
  for (size_t i = 0; i < codes_.size(); ++i) {
    m.values[i] = scales_[i / FourBitRows::kGroup] * codes_[i] + minima_[i / FourBitRows::kGroup];
  }
  return m;
}

void FourBitMatrix::Read(int64_t begin, int64_t count, const FourBitRows& out) const {
  const int64_t groups = cols_ / FourBitRows::kGroup;
  std::copy_n(codes_.begin() + begin * cols_, count * cols_, out.codes);
  std::copy_n(scales_.begin() + begin * groups, count * groups, out.scales);
  std::copy_n(minima_.begin() + begin * groups, count * groups, out.minima);
}

WeightSource SourceOf(const Matrix& w) {
  WeightSource source = {w.rows, w.cols, [&w](int64_t begin, int64_t count, float* out) {
                           std::copy_n(w.row(begin), count * w.cols, out);
                         }};
  if (!Keeps(WeightType::kInt4, w.cols)) return source;
  source.read_four_bits = [m = FourBitMatrix(w)](int64_t begin, int64_t count,
                                                 const FourBitRows& out) {
    m.Read(begin, count, out);
  };
  return source;
}

std::unique_ptr<Weight> Load(Ops& ops, const Matrix& w, WeightType type, WeightUse use) {
  auto weight = ops.LoadWeight(SourceOf(w), type, use);
  EXPECT_TRUE(weight.ok()) << weight.status();
  return *std::move(weight);
}

void ForEachTarget(const std::function<void()>& fn) {
  const int64_t here = hwy::SupportedTargets();
  for (const int64_t target : {HWY_SSSE3, HWY_AVX2, HWY_AVX3}) {
    if ((here & target) == 0) continue;
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    SCOPED_TRACE(hwy::TargetName(target));
    fn();
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
}

void ForEachCpu(const std::function<void(Ops&)>& fn, bool int8_attention) {
  ForEachTarget([&] {
    for (const int threads : {1, 2, 3}) {
      SCOPED_TRACE("threads " + std::to_string(threads));
      const auto ops = MakeCpuOps(threads, int8_attention);
      fn(*ops);
    }
  });
}

void ForEachBackend(const std::function<void(Ops&)>& fn, bool int8_attention) {
  const auto reference = MakeReferenceOps();
  fn(*reference);
  ForEachCpu(fn, int8_attention);
}

PagedCache::PagedCache(Ops& ops, const KvLayout& layout, const std::vector<Sequence>& sequences,
                       bool shuffled) {
  std::vector<int64_t> num_blocks;
  for (const Sequence& s : sequences) {
    num_blocks.push_back((s.k.rows + layout.block_tokens - 1) / layout.block_tokens);
  }
  const int64_t used = std::accumulate(num_blocks.begin(), num_blocks.end(), int64_t{0});
  const int64_t all = used + (shuffled ? 3 : 0);
  std::vector<int32_t> ids = RandomRows(used, all, 17);
  if (!shuffled) std::sort(ids.begin(), ids.end());

  // All ones is a NaN in float32 and in bf16, of which scales are too: whatever is read but was
  // never written shows.
  const std::vector<unsigned char> nan(all * layout.block_bytes(), 0xFF);
  memory_ = AllocateOrDie(ops, nan.size());
  ops.Upload(nan.data(), memory_.data(), nan.size());
  pool_ = {memory_.data(), layout};
  int64_t next = 0;
  for (size_t i = 0; i < sequences.size(); ++i) {
    blocks_.emplace_back(
        ops, std::vector<int32_t>(ids.begin() + next, ids.begin() + next + num_blocks[i]));
    next += num_blocks[i];
    const Sequence& s = sequences[i];
    const Device k(ops, s.k), v(ops, s.v);
    ops.KvWrite(k.view(), v.view(), {Segment(i, 0, s.k.rows, s.k.rows)}, pool_);
  }
}

KvSegment PagedCache::Segment(size_t sequence, int64_t row_begin, int64_t row_count,
                              int64_t kv_len) const {
  return {row_begin, row_count, kv_len, blocks_[sequence].view()};
}

double MaxDifference(const Matrix& a, const Matrix& b) {
  if (a.rows != b.rows || a.cols != b.cols) return std::numeric_limits<double>::infinity();
  double worst = 0.0;
  for (size_t i = 0; i < a.values.size(); ++i) {
    if (std::isnan(a.values[i]) && std::isnan(b.values[i])) continue;
    const double difference = std::abs(double{a.values[i]} - b.values[i]);
    if (std::isnan(difference)) return std::numeric_limits<double>::infinity();
    worst = std::max(worst, difference);
  }
  return worst;
}

double MaxRowNorm(const Matrix& m, int64_t head_dim) {
  double worst = 0.0;
  for (size_t i = 0; i < m.values.size(); i += head_dim) {
    double sum = 0.0;
    for (int64_t j = 0; j < head_dim; ++j) sum += double{m.values[i + j]} * m.values[i + j];
    worst = std::max(worst, std::sqrt(sum));
  }
  return worst;
}

}  // namespace skipserve::testing
