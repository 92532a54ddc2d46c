#include "kernels/cpu/packed_gemm.h"

#include <algorithm>
#include <utility>

#include "kernels/cpu/carver.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/native_bf16.h"
#include "kernels/cpu/quantize.h"
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

  void Run(const Input& a, const Output& out, ThreadPool& pool,
           std::vector<Scratch>& scratch) const override {
    ForTasks(Count(a), 1, pool, [&](int64_t begin, int64_t count, int thread) {
      Work work;
      Carve(scratch[thread], [&](Carver& carver) { Take(count, carver, work); });
      Round(a, begin, count, work);
      const bool direct = count == kRows && panels_.size() == 1 && !out.add && out.rows.empty() &&
                          out.x.stride == n_;
      for (const Panel& panel : panels_) {
        float* const to = direct ? out.x.data + begin * out.x.stride : work.first;
        Multiply(panel, work, 0, to);
        Scale(panel, work, 0, count, to);
        if (!direct) Store(panel, to, begin, count, out);
      }
    });
  }

  bool gated() const override { return gated_; }

  void FeedForward(const Input& a, const PackedGemm& other, const Output& out, ThreadPool& pool,
                   std::vector<Scratch>& scratch) const override {
    const auto& down = static_cast<const DnnlGemm&>(other);
    ForTasks(Count(a), kTaskTiles, pool, [&](int64_t begin, int64_t count, int thread) {
      Work work, down_work;
      float* hidden = nullptr;  // [count, down.k]; of int8, whose scales need whole rows
      Carve(scratch[thread], [&](Carver& carver) {
        Take(count, carver, work);
        down.Take(count, carver, down_work);
        if (int8()) hidden = carver.Take<float>(count * down.k_);
      });
      Round(a, begin, count, work);
      Activate(count, work, down, down_work, hidden);
      if (int8()) down.Round({TensorView(hidden, count, down.k_)}, 0, count, down_work);
      down.ClearRest(count, down_work);
      for (int64_t row = 0; row < count; row += kRows) {
        const int64_t rows = std::min(kRows, count - row);
        for (const Panel& panel : down.panels_) {
          down.Multiply(panel, down_work, row, down_work.first);
          down.Scale(panel, down_work, row, rows, down_work.first);
          Store(panel, down_work.first, begin + row, rows, out);
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
    float* second = nullptr;  // another, where it is gated
    float* normed = nullptr;  // [k]
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

  static int64_t Count(const Input& a) { return a.rows.empty() ? a.x.rows : a.rows.size; }
  static int64_t RowAt(IndexView rows, int64_t i) { return rows.empty() ? i : rows.data[i]; }

  template <class Task>
  static void ForTasks(int64_t count, int64_t most_tiles, ThreadPool& pool, Task task) {
    const int64_t tiles = (count + kRows - 1) / kRows;
    const int64_t rows = kRows * std::clamp<int64_t>(tiles / pool.threads(), 1, most_tiles);
    pool.ParallelFor((count + rows - 1) / rows, [&](int64_t i, int thread) {
      KeepDnnlOnThisThread();
      task(i * rows, std::min(rows, count - i * rows), thread);
    });
  }

  template <class Takes>
  static void Carve(Scratch& scratch, Takes takes) {
    alignas(64) std::byte measure[1];
    Carver size(measure);
    takes(size);
    Carver carver(static_cast<std::byte*>(scratch.Bytes(size.used())));
    takes(carver);
  }

  void Take(int64_t count, Carver& carver, Work& work) const {
    const int64_t rows = (count + kRows - 1) / kRows * kRows;
    size_t scratchpad = 0;
    for (const Panel& p : panels_) scratchpad = std::max(scratchpad, p.scratchpad.get_size());
    work.a = carver.Take<std::byte>(rows * RowBytes());
    work.scales = carver.Take<float>(rows);
    work.first = carver.Take<float>(kRows * most_columns_);
    work.second = carver.Take<float>(gated_ ? kRows * most_columns_ : 0);
    work.normed = carver.Take<float>(k_);
    work.scratchpad = carver.Take<std::byte>(scratchpad);
  }

  void Round(const Input& a, int64_t begin, int64_t count, const Work& work) const {
    for (int64_t i = 0; i < count; ++i) {
      const float* row = a.x.data + RowAt(a.rows, begin + i) * a.x.stride;
      if (a.gain != nullptr) {
        RmsNormRow(row, a.gain, k_, a.eps, work.normed);
        row = work.normed;
      }
      std::byte* const to = work.a + i * RowBytes();
      if (int8()) {
        work.scales[i] = QuantizeRow(row, k_, reinterpret_cast<int8_t*>(to));
      } else {
        RoundToBf16Native(row, k_, reinterpret_cast<uint16_t*>(to));
      }
    }
    ClearRest(count, work);
  }

  // Of the last tile, what has no rows.
  void ClearRest(int64_t count, const Work& work) const {
    const int64_t rows = (count + kRows - 1) / kRows * kRows;
    std::fill(work.a + count * RowBytes(), work.a + rows * RowBytes(), std::byte{0});
  }

  // silu(gate) * up, by panels of both: of int8 to `hidden`, else rounded to what `down`
  // multiplies.
  void Activate(int64_t count, const Work& work, const DnnlGemm& down, const Work& down_work,
                float* hidden) const {
    const size_t half = panels_.size() / 2;
    for (size_t p = 0; p < half; ++p) {
      const Panel& gate = panels_[p];
      for (int64_t row = 0; row < count; row += kRows) {
        const int64_t rows = std::min(kRows, count - row);
        Multiply(gate, work, row, work.first);
        Multiply(panels_[p + half], work, row, work.second);
        for (int64_t i = 0; i < rows; ++i) {
          float* const at = work.first + i * gate.columns;
          const float* const up = work.second + i * gate.columns;
          if (int8()) {
            const float* const scales = w_.scales() + gate.begin;
            ScaledSwiGluRow(at, scales, up, scales + down.k_, work.scales[row + i], gate.columns,
                            hidden + (row + i) * down.k_ + gate.begin);
          } else {
            SwiGluRow(at, up, gate.columns, at);
            std::byte* const rounded = down_work.a + (row + i) * down.RowBytes();
            RoundToBf16Native(at, gate.columns, reinterpret_cast<uint16_t*>(rounded) + gate.begin);
          }
        }
      }
    }
  }

  // The `count` rows of a panel's results to rows [begin, begin + count).
  static void Store(const Panel& panel, const float* from, int64_t begin, int64_t count,
                    const Output& out) {
    for (int64_t i = 0; i < count; ++i, from += panel.columns) {
      float* const to = out.x.data + RowAt(out.rows, begin + i) * out.x.stride + panel.begin;
      if (out.add) {
        AddRow(to, from, panel.columns);
      } else {
        std::copy_n(from, panel.columns, to);
      }
    }
  }

  // to [kRows, columns] = the rows of the task from `row` on, by the panel.
  void Multiply(const Panel& panel, const Work& work, int64_t row, float* to) const {
    dnnl::stream stream(engine_);
    panel.product.execute(
        stream, {{DNNL_ARG_SRC, memory(Src(), engine_, work.a + row * RowBytes())},
                 {DNNL_ARG_WEIGHTS, panel.weights},
                 {DNNL_ARG_DST, memory(panel.dst, engine_, to)},
                 {DNNL_ARG_SCRATCHPAD, memory(panel.scratchpad, engine_, work.scratchpad)}});
    stream.wait();
  }

  // Of int8, what the integers' products stand for.
  void Scale(const Panel& panel, const Work& work, int64_t row, int64_t count, float* to) const {
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
