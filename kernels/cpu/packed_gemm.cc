#include "kernels/cpu/packed_gemm.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/row_kernels.h"
#include "kernels/host_memory.h"
#include "oneapi/dnnl/dnnl.hpp"

namespace skipserve::cpu {
namespace {

using dnnl::memory;

// The only row count that a primitive is made for: a new prompt length compiles nothing, and a row
// is summed in one order whatever its company. With AMX the order follows the row count.
constexpr int64_t kTileRows = 64;

size_t RoundUp(size_t bytes) { return (bytes + 63) / 64 * 64; }

class DnnlPackedGemm : public PackedGemm {
 public:
  DnnlPackedGemm(const void* w, int64_t n, int64_t k, DType dtype, HostSlabs& slabs)
      : n_(n), k_(k), dtype_(dtype), engine_(dnnl::engine::kind::cpu, 0) {
    const auto type = dtype == DType::kBF16 ? memory::data_type::bf16 : memory::data_type::f32;
    dnnl::primitive_attr attr;
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);  // threads share the primitives
    const memory::desc any({k, n}, type, memory::format_tag::any);
    src_ = memory::desc({kTileRows, k}, type, memory::format_tag::ab);
    dst_ = memory::desc({kTileRows, n}, memory::data_type::f32, memory::format_tag::ab);
    const dnnl::matmul::primitive_desc pd(dnnl::matmul::desc(src_, any, dst_), attr, engine_);
    const memory::desc weights = pd.weights_desc();
    scratchpad_ = pd.scratchpad_desc();
    product_ = dnnl::matmul(pd);
    absl::StatusOr<Buffer> packed = slabs.Allocate(weights.get_size());
    if (!packed.ok()) throw dnnl::error(dnnl_out_of_memory, "no memory for packed weights");
    packed_ = *std::move(packed);
    weights_ = memory(weights, engine_, packed_.data());
    memory plain({{k, n}, type, memory::format_tag::ba}, engine_, const_cast<void*>(w));
    dnnl::stream stream(engine_);
    dnnl::reorder(plain, weights_).execute(stream, plain, weights_);
    stream.wait();
  }

  size_t bytes() const override { return packed_.bytes(); }

  void Run(TensorView a, TensorView out, ThreadPool& pool,
           std::vector<Scratch>& scratch) const override {
    pool.ParallelFor((a.rows + kTileRows - 1) / kTileRows, [&](int64_t task, int thread) {
      KeepDnnlOnThisThread();
      const int64_t begin = task * kTileRows;
      const int64_t count = std::min(kTileRows, a.rows - begin);
      RunTile(a.Rows(begin, count), out.Rows(begin, count), scratch[thread]);
    });
  }

 private:
  void RunTile(TensorView a, TensorView out, Scratch& scratch) const {
    const size_t src_bytes = RoundUp(src_.get_size());
    const size_t dst_bytes = RoundUp(dst_.get_size());
    auto* work =
        static_cast<std::byte*>(scratch.Bytes(src_bytes + dst_bytes + scratchpad_.get_size()));
    const size_t row_bytes = k_ * DTypeBytes(dtype_);
    std::memset(work + a.rows * row_bytes, 0, (kTileRows - a.rows) * row_bytes);
    for (int64_t i = 0; i < a.rows; ++i) {
      const float* from = a.data + i * a.stride;
      if (dtype_ == DType::kBF16) {
        RoundToBf16(from, k_, reinterpret_cast<uint16_t*>(work) + i * k_);
      } else {
        std::copy_n(from, k_, reinterpret_cast<float*>(work) + i * k_);
      }
    }
    const bool direct = a.rows == kTileRows && out.stride == n_;
    float* result = direct ? out.data : reinterpret_cast<float*>(work + src_bytes);
    dnnl::stream stream(engine_);
    product_.execute(stream, {{DNNL_ARG_SRC, memory(src_, engine_, work)},
                              {DNNL_ARG_WEIGHTS, weights_},
                              {DNNL_ARG_DST, memory(dst_, engine_, result)},
                              {DNNL_ARG_SCRATCHPAD,
                               memory(scratchpad_, engine_, work + src_bytes + dst_bytes)}});
    stream.wait();
    if (direct) return;
    for (int64_t i = 0; i < out.rows; ++i)
      std::copy_n(result + i * n_, n_, out.data + i * out.stride);
  }

  int64_t n_;
  int64_t k_;
  DType dtype_;
  dnnl::engine engine_;
  memory::desc src_, dst_, scratchpad_;
  dnnl::matmul product_;
  Buffer packed_;
  memory weights_;
};

}  // namespace

std::unique_ptr<PackedGemm> PackedGemm::Make(const void* w, int64_t n, int64_t k, DType dtype,
                                             HostSlabs& slabs) {
  if (n == 0 || k == 0) return nullptr;
  KeepDnnlOnThisThread();
  try {
    return std::make_unique<DnnlPackedGemm>(w, n, k, dtype, slabs);
  } catch (const dnnl::error&) {
    return nullptr;
  }
}

}  // namespace skipserve::cpu
