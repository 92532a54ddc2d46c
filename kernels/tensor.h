// Plain views of memory that an Ops backend owns. Nothing here allocates or reads an element.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

namespace skipserve {

// kInt8 is of K and V alone, with scales beside the values (KvLayout).
enum class DType { kF32, kBF16, kInt8 };

inline size_t DTypeBytes(DType t) { return t == DType::kF32 ? 4 : t == DType::kBF16 ? 2 : 1; }

// How a weight matrix is kept and multiplied.
enum class WeightType {
  kF32,
  kBF16,
  // Its rows (outputs), rotated by a Hadamard transform so that no value stands out, as 8 bits a
  // value and one scale, and the rows that it multiplies likewise, so that a product is one of
  // integers.
  kInt8,
  // 4 bits a value, a scale and a minimum for each group of inputs, as its file has them. Prompts
  // multiply what these stand for (rounded to bf16 where kBF16 would be); a decode step's rows are
  // rounded to 8 bits with a scale for each group.
  kInt4,
};

// A row-major float32 matrix [rows, cols] in backend memory; row i starts `stride` elements after
// row i - 1. Heads lie side by side in a row: [num_tokens, num_heads * head_dim]. Does not own its
// memory.
struct TensorView {
  float* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;

  TensorView() = default;
  TensorView(float* d, int64_t r, int64_t c) : data(d), rows(r), cols(c), stride(c) {}
  TensorView(float* d, int64_t r, int64_t c, int64_t s) : data(d), rows(r), cols(c), stride(s) {}

  TensorView Rows(int64_t begin, int64_t count) const {
    return TensorView(data + begin * stride, count, cols, stride);
  }
  TensorView Cols(int64_t begin, int64_t count) const {
    return TensorView(data + begin, rows, count, stride);
  }
};

// `size` int32 values in backend memory: row numbers, positions, token ids or block ids. Does not
// own its memory.
struct IndexView {
  const int32_t* data = nullptr;
  int64_t size = 0;

  IndexView Slice(int64_t begin, int64_t count) const { return {data + begin, count}; }
  bool empty() const { return size == 0; }
};

// Backend memory with an owner: freed through the backend that made it, when this goes.
class Buffer {
 public:
  using Free = std::function<void(void*)>;

  Buffer() = default;
  Buffer(void* data, size_t bytes, Free free)
      : data_(data), bytes_(bytes), free_(std::move(free)) {}
  Buffer(Buffer&& o) noexcept { *this = std::move(o); }
  Buffer& operator=(Buffer&& o) noexcept {
    Reset();
    data_ = std::exchange(o.data_, nullptr);
    bytes_ = std::exchange(o.bytes_, 0);
    free_ = std::exchange(o.free_, nullptr);
    return *this;
  }
  ~Buffer() { Reset(); }

  void* data() const { return data_; }
  float* f32() const { return static_cast<float*>(data_); }
  int32_t* i32() const { return static_cast<int32_t*>(data_); }
  size_t bytes() const { return bytes_; }

 private:
  void Reset() {
    if (data_ && free_) free_(data_);
    data_ = nullptr;
  }

  void* data_ = nullptr;
  size_t bytes_ = 0;
  Free free_;
};

}  // namespace skipserve
