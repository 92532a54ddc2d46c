#include "kernels/cpu/packed_gemm.h"

#include <algorithm>
#include <utility>

#include "kernels/cpu/carver.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/row_kernels.h"
#include "oneapi/dnnl/dnnl.hpp"

namespace skipserve::cpu {
namespace {

using dnnl::memory;

// The only row count that a primitive is made for: a new prompt length compiles nothing, and a row
// is summed in one order whatever its company. With AMX the order follows the row count.
constexpr int64_t kRows = 64;
// Of gated weights, whose results are halved on the spot: tiles of a task, which share a panel of
// the weights while it is in L2. Others are multiplied as a whole and straight into their place:
// 512 rows by 768 x 576 take 0.39 ms so, 0.44 by panels; by 2 * 1536 x 576 1.77 ms by one
// panel, 1.46 by many.
constexpr int64_t kTaskTiles = 4;
constexpr int64_t kPanelBytes = 512 * 1024;

class DnnlGemm : public PackedGemm {
 public:
  DnnlGemm(const TiledWeights& w, bool gated)
      : w_(w), n_(w.n()), k_(w.k()), gated_(gated), engine_(dnnl::engine::kind::cpu, 0) {
    constexpr int64_t kStep = TiledWeights::kOutputs;
    const int64_t part = gated ? n_ / 2 : n_;
    const int64_t column_bytes = w.input_blocks() * TiledWeights::kWords * sizeof(uint32_t);
    const int64_t most =
        gated ? std::max<int64_t>(1, kPanelBytes / (column_bytes * kStep)) * kStep : n_;
    const int64_t panels = (part + most - 1) / most;
    const int64_t even = (part + panels - 1) / panels;
    const int64_t columns = (even + kStep - 1) / kStep * kStep;
    for (int64_t begin = 0; begin < n_; begin += part) {
      for (int64_t column = 0; column < part; column += columns) {
        panels_.push_back(MakePanel(begin + column, std::min(columns, part - column)));
      }
    }
    most_columns_ = std::min(columns, part);
  }

  void Run(TensorView a, TensorView out, ThreadPool& pool,
           std::vector<Scratch>& scratch) const override {
    ForTasks(a, out, 1, pool, [&](TensorView task_a, TensorView task_out, int thread) {
      const Work work = Round(task_a, scratch[thread]);
      const bool direct = task_a.rows == kRows && panels_.size() == 1 && out.stride == n_;
      for (const Panel& panel : panels_) {
        Multiply(panel, work, 0, task_a.rows, direct ? task_out.data : work.first);
        for (int64_t i = 0; !direct && i < task_a.rows; ++i) {
          std::copy_n(work.first + i * panel.columns, panel.columns,
                      task_out.data + i * task_out.stride + panel.begin);
        }
      }
    });
  }

  bool gated() const override { return gated_; }

  void RunGated(TensorView a, TensorView out, ThreadPool& pool,
                std::vector<Scratch>& scratch) const override {
    ForTasks(a, out, kTaskTiles, pool, [&](TensorView task_a, TensorView task_out, int thread) {
      const Work work = Round(task_a, scratch[thread]);
      const size_t half = panels_.size() / 2;
      for (size_t p = 0; p < half; ++p) {
        const Panel& gate = panels_[p];
        for (int64_t row = 0; row < task_a.rows; row += kRows) {
          const int64_t count = std::min(kRows, task_a.rows - row);
          Multiply(gate, work, row, count, work.first);
          Multiply(panels_[p + half], work, row, count, work.second);
          for (int64_t i = 0; i < count; ++i) {
            SwiGluRow(work.first + i * gate.columns, work.second + i * gate.columns, gate.columns,
                      task_out.data + (row + i) * task_out.stride + gate.begin);
          }
        }
      }
    });
  }

 private:
  struct Panel {
    int64_t begin = 0;
    int64_t columns = 0;
    memory weights;
    memory::desc dst, scratchpad;
    dnnl::matmul product;
  };

  // Of one task.
  struct Work {
    std::byte* a = nullptr;   // [rows up to whole tiles, k] as the weights, zeros at the end
    float* scales = nullptr;  // [rows], of int8
    float* first = nullptr;   // [kRows, columns of a panel]
    float* second = nullptr;  // another
    std::byte* scratchpad = nullptr;
  };

  bool int8() const { return w_.type() == WeightType::kInt8; }
  memory::data_type Type() const {
    return int8() ? memory::data_type::s8 : memory::data_type::bf16;
  }
  int64_t RowBytes() const { return int8() ? k_ : k_ * static_cast<int64_t>(sizeof(uint16_t)); }
  memory::desc Src() const { return {{kRows, k_}, Type(), memory::format_tag::ab}; }

  Panel MakePanel(int64_t begin, int64_t columns) const {
    Panel p;
    p.begin = begin;
    p.columns = columns;
    const memory::desc weights(
        {k_, columns}, Type(),
        int8() ? memory::format_tag::BA16a64b4a : memory::format_tag::BA16a64b2a);
    p.dst = {{kRows, columns}, memory::data_type::f32, memory::format_tag::ab};
    dnnl::primitive_attr attr;
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);  // threads share the primitives
    const dnnl::matmul::primitive_desc pd(dnnl::matmul::desc(Src(), weights, p.dst), attr, engine_);
    p.scratchpad = pd.scratchpad_desc();
    p.product = dnnl::matmul(pd);
    const uint32_t* data = w_.Outputs(begin / TiledWeights::kOutputs);
    p.weights = memory(weights, engine_, const_cast<uint32_t*>(data));
    return p;
  }

  template <class Task>
  void ForTasks(TensorView a, TensorView out, int64_t most_tiles, ThreadPool& pool,
                Task task) const {
    const int64_t tiles = (a.rows + kRows - 1) / kRows;
    const int64_t rows = kRows * std::clamp<int64_t>(tiles / pool.threads(), 1, most_tiles);
    pool.ParallelFor((a.rows + rows - 1) / rows, [&](int64_t i, int thread) {
      KeepDnnlOnThisThread();
      const int64_t count = std::min(rows, a.rows - i * rows);
      task(a.Rows(i * rows, count), out.Rows(i * rows, count), thread);
    });
  }

  Work Round(TensorView a, Scratch& scratch) const {
    const int64_t rows = (a.rows + kRows - 1) / kRows * kRows;
    size_t scratchpad = 0;
    for (const Panel& p : panels_) scratchpad = std::max(scratchpad, p.scratchpad.get_size());
    Work work;
    const auto carve = [&](std::byte* base) {
      Carver carver(base);
      work.a = carver.Take<std::byte>(rows * RowBytes());
      work.scales = carver.Take<float>(rows);
      work.first = carver.Take<float>(kRows * most_columns_);
      work.second = carver.Take<float>(kRows * most_columns_);
      work.scratchpad = carver.Take<std::byte>(scratchpad);
      return carver.used();
    };
    alignas(64) std::byte measure[1];
    carve(static_cast<std::byte*>(scratch.Bytes(carve(measure))));
    for (int64_t i = 0; i < a.rows; ++i) {
      work.scales[i] = w_.RoundRow(a.data + i * a.stride, work.a + i * RowBytes());
    }
    std::fill(work.a + a.rows * RowBytes(), work.a + rows * RowBytes(), std::byte{0});
    return work;
  }

  // to [kRows, columns] = the `count` rows of the task from `row` on, by the panel.
  void Multiply(const Panel& panel, const Work& work, int64_t row, int64_t count, float* to) const {
    dnnl::stream stream(engine_);
    panel.product.execute(
        stream, {{DNNL_ARG_SRC, memory(Src(), engine_, work.a + row * RowBytes())},
                 {DNNL_ARG_WEIGHTS, panel.weights},
                 {DNNL_ARG_DST, memory(panel.dst, engine_, to)},
                 {DNNL_ARG_SCRATCHPAD, memory(panel.scratchpad, engine_, work.scratchpad)}});
    stream.wait();
    for (int64_t i = 0; int8() && i < count; ++i) {
      ScaleRow(to + i * panel.columns, w_.scales() + panel.begin, work.scales[row + i],
               panel.columns);
    }
  }

  const TiledWeights& w_;
  int64_t n_;
  int64_t k_;
  bool gated_;
  int64_t most_columns_ = 0;
  dnnl::engine engine_;
  std::vector<Panel> panels_;
};

}  // namespace

std::unique_ptr<PackedGemm> PackedGemm::Make(const TiledWeights& w, bool gated) {
  if (w.n() == 0 || w.k() == 0) return nullptr;
  KeepDnnlOnThisThread();
  try {
    return std::make_unique<DnnlGemm>(w, gated);
  } catch (const dnnl::error&) {
    return nullptr;
  }
}

}  // namespace skipserve::cpu
