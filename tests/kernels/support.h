// What the kernel tests share: host matrices, their copies in a backend's memory, paged caches, and
// the list of CPU backends (every compiled SIMD target the machine has, 1 to 3 threads) that each
// test runs on. Not thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "kernels/ops.h"

namespace skipserve::testing {

constexpr double kUnit = 1.0 / (1 << 24);  // rounding error of one float32 operation, relative

struct Matrix {
  Matrix(int64_t r, int64_t c, float fill = 0.0f) : rows(r), cols(c), values(r * c, fill) {}
  float& at(int64_t r, int64_t c) { return values[r * cols + c]; }
  float at(int64_t r, int64_t c) const { return values[r * cols + c]; }
  const float* row(int64_t r) const { return values.data() + r * cols; }

  int64_t rows;
  int64_t cols;
  std::vector<float> values;
};

// Normally distributed values.
Matrix Random(int64_t rows, int64_t cols, uint32_t seed, float scale = 1.0f);
std::vector<int32_t> RandomRows(int64_t count, int64_t below, uint32_t seed);  // distinct, shuffled

// A matrix in the backend's memory. With padding its rows are further apart than they are long;
// what lies between is NaN, and Get checks that it still is.
class Device {
 public:
  Device(Ops& ops, const Matrix& m, int64_t padding = 0);
  static Device Empty(Ops& ops, int64_t rows, int64_t cols, int64_t padding = 0);  // of NaN

  TensorView view() const { return view_; }
  Matrix Get() const;

 private:
  Ops* ops_;
  Buffer buffer_;
  TensorView view_;
};

class DeviceIndex {
 public:
  DeviceIndex(Ops& ops, const std::vector<int32_t>& values);
  IndexView view() const { return {buffer_.i32(), size_}; }

 private:
  Buffer buffer_;
  int64_t size_;
};

// Each group of 32 inputs as the nearest of 16 values from its smallest to its largest, by a scale
// and a minimum that float16 has. Its columns are whole groups.
class FourBitMatrix {
 public:
  explicit FourBitMatrix(const Matrix& w);
  Matrix Values() const;  // scale * code + minimum
  void Read(int64_t begin, int64_t count, const FourBitRows& out) const;

 private:
  int64_t rows_, cols_;
  std::vector<uint8_t> codes_;
  std::vector<float> scales_, minima_;
};

// `w` outlives it. In 4 bits too where its columns are whole groups.
WeightSource SourceOf(const Matrix& w);
// Whether a weight of so many inputs can be kept so.
inline bool Keeps(WeightType type, int64_t in_features) {
  return type != WeightType::kInt4 || in_features % FourBitRows::kGroup == 0;
}
std::unique_ptr<Weight> Load(Ops& ops, const Matrix& w, WeightType type,
                             WeightUse use = WeightUse::kAll);

// Calls fn with every CPU backend this machine can run. The SIMD target is global, hence the
// callback.
void ForEachCpu(const std::function<void(Ops&)>& fn, bool int8_attention = false);
// Likewise, and with the reference.
void ForEachBackend(const std::function<void(Ops&)>& fn, bool int8_attention = false);
// Likewise with every SIMD target.
void ForEachTarget(const std::function<void()>& fn);

// A paged pool with the K and V of some sequences in it, each in blocks of its own.
class PagedCache {
 public:
  // kv[i] = {k, v}, each [kv_len, kv_heads * head_dim]. Shuffled blocks lie in random order with
  // holes of NaN.
  struct Sequence {
    Matrix k;
    Matrix v;
  };
  PagedCache(Ops& ops, const KvLayout& layout, const std::vector<Sequence>& sequences,
             bool shuffled);

  const KvPool& pool() const { return pool_; }
  // A segment of the last row_count of the first kv_len tokens of a sequence; its rows start at
  // row_begin of the batch.
  KvSegment Segment(size_t sequence, int64_t row_begin, int64_t row_count, int64_t kv_len) const;

 private:
  Buffer memory_;
  KvPool pool_;
  std::vector<DeviceIndex> blocks_;
};

// Largest |a - b|; infinite where one is NaN and the other is not, or the shapes differ.
double MaxDifference(const Matrix& a, const Matrix& b);

double MaxRowNorm(const Matrix& m, int64_t head_dim);  // largest Euclidean norm of a head's vector

}  // namespace skipserve::testing
