#include "kernels/cpu/packed_gemm.h"

#include <algorithm>

#include "kernels/chosen_rows.h"
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
// Of a feed-forward, whose gates' results are halved on the spot: tiles of a task, which share a
// panel of the gates while it is in L2. Other weights are multiplied as a whole: 512 rows by
// 768 x 576 take 0.39 ms so, 0.44 by panels; by 2 * 1536 x 576 1.77 ms by one panel, 1.46 by many.
// Weights fetched ahead of their panel, by prefetches or by loads, gained nothing.
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

  bool RoundsAs(const DnnlGemm& like) const { return k_ == like.k_ && w_.type() == like.w_.type(); }

  static const DnnlGemm& Of(const PackedGemm* gemm) { return static_cast<const DnnlGemm&>(*gemm); }

  // What is rounded once is multiplied by each.
  static void RunAll(const Input& a, absl::Span<const Product> products, ThreadPool& pool,
                     std::vector<Scratch>& scratch) {
    const DnnlGemm& first = Of(products[0].w);
    ForTasks(CountOf(a.x, a.rows), 1, pool, [&](int64_t begin, int64_t count, int thread) {
      Rows rows;
      Room room;
      for (const Product& p : products) room.Fit(Of(p.w));
      Carve(scratch[thread], [&](Carver& carver) {
        first.Take(count, carver, rows);
        room.Take(carver);
      });
      first.Round(a, begin, count, rows);
      for (const Product& p : products) Of(p.w).MultiplyTo(rows, room, begin, count, p.out);
    });
  }

  bool gated() const override { return gated_; }

  void FeedForward(const Input& a, const PackedGemm& other, const Output& out, ThreadPool& pool,
                   std::vector<Scratch>& scratch) const override {
    const DnnlGemm& down = Of(&other);
    ForTasks(CountOf(a.x, a.rows), kTaskTiles, pool, [&](int64_t begin, int64_t count, int thread) {
      Rows rows, activated;
      Room room;
      room.Fit(*this);
      room.Fit(down);
      float* hidden = nullptr;  // [count, down.k]; of int8, whose scales need whole rows
      Carve(scratch[thread], [&](Carver& carver) {
        Take(count, carver, rows);
        down.Take(count, carver, activated);
        room.Take(carver);
        if (int8()) hidden = carver.Take<float>(count * down.k_);
      });
      Round(a, begin, count, rows);
      Activate(count, rows, room, down, activated, hidden);
      if (int8()) {
        down.Round({TensorView(hidden, count, down.k_)}, 0, count, activated);
      } else {
        down.ClearRest(count, activated);
      }
      for (int64_t row = 0; row < count; row += kRows) {
        down.MultiplyTo(activated.From(row, down.RowBytes()), room, begin + row,
                        std::min(kRows, count - row), out);
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

  // Of a task, as the weights are kept.
  struct Rows {
    std::byte* values = nullptr;  // [count up to whole tiles, k], zeros at the end
    float* scales = nullptr;      // [count], of int8
    float* normed = nullptr;      // [k] a row on its way from its norm to its rounding

    Rows From(int64_t row, int64_t row_bytes) const {
      return {values + row * row_bytes, scales + row, normed};
    }
  };

  // What products need one after the other.
  struct Room {
    float* first = nullptr;   // [kRows, columns of a panel]
    float* second = nullptr;  // another, where one is gated
    std::byte* scratchpad = nullptr;
    int64_t first_size = 0, second_size = 0;
    size_t scratchpad_size = 0;

    void Fit(const DnnlGemm& gemm) {
      const int64_t size = kRows * gemm.most_columns_;
      first_size = std::max(first_size, size);
      if (gemm.gated_) second_size = std::max(second_size, size);
      for (const Panel& p : gemm.panels_) {
        scratchpad_size = std::max(scratchpad_size, p.scratchpad.get_size());
      }
    }
    void Take(Carver& carver) {
      first = carver.Take<float>(first_size);
      second = carver.Take<float>(second_size);
      scratchpad = carver.Take<std::byte>(scratchpad_size);
    }
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

  void Take(int64_t count, Carver& carver, Rows& rows) const {
    const int64_t whole = (count + kRows - 1) / kRows * kRows;
    rows.values = carver.Take<std::byte>(whole * RowBytes());
    rows.scales = carver.Take<float>(whole);
    rows.normed = carver.Take<float>(k_);
  }

  void Round(const Input& a, int64_t begin, int64_t count, const Rows& to) const {
    for (int64_t i = 0; i < count; ++i) {
      const float* row = a.x.data + RowAt(a.rows, begin + i) * a.x.stride;
      if (a.gain != nullptr) {
        RmsNormRow(row, a.gain, k_, a.eps, to.normed);
        row = to.normed;
      }
      std::byte* const values = to.values + i * RowBytes();
      if (int8()) {
        to.scales[i] = QuantizeRow(row, k_, reinterpret_cast<int8_t*>(values));
      } else {
        RoundToBf16Native(row, k_, reinterpret_cast<uint16_t*>(values));
      }
    }
    ClearRest(count, to);
  }

  // Of the last tile, what has no rows.
  void ClearRest(int64_t count, const Rows& rows) const {
    const int64_t whole = (count + kRows - 1) / kRows * kRows;
    std::fill(rows.values + count * RowBytes(), rows.values + whole * RowBytes(), std::byte{0});
  }

  // silu(gate) * up, by panels of both: of int8 to `hidden`, else rounded to what `down`
  // multiplies.
  void Activate(int64_t count, const Rows& rows, const Room& room, const DnnlGemm& down,
                const Rows& activated, float* hidden) const {
    const size_t half = panels_.size() / 2;
    for (size_t p = 0; p < half; ++p) {
      const Panel& gate = panels_[p];
      for (int64_t row = 0; row < count; row += kRows) {
        const Rows tile = rows.From(row, RowBytes());
        Multiply(gate, tile, room, room.first);
        Multiply(panels_[p + half], tile, room, room.second);
        for (int64_t i = 0; i < std::min(kRows, count - row); ++i) {
          float* const at = room.first + i * gate.columns;
          const float* const up = room.second + i * gate.columns;
          if (int8()) {
            const float* const scales = w_.scales() + gate.begin;
            ScaledSwiGluRow(at, scales, up, scales + down.k_, tile.scales[i], gate.columns,
                            hidden + (row + i) * down.k_ + gate.begin);
          } else {
            SwiGluRow(at, up, gate.columns, at);
            std::byte* const rounded = activated.values + (row + i) * down.RowBytes();
            RoundToBf16Native(at, gate.columns, reinterpret_cast<uint16_t*>(rounded) + gate.begin);
          }
        }
      }
    }
  }

  // The first `count` of the tile's rows to rows [begin, begin + count).
  void MultiplyTo(const Rows& tile, const Room& room, int64_t begin, int64_t count,
                  const Output& out) const {
    const bool direct =
        count == kRows && panels_.size() == 1 && !out.add && out.rows.empty() && out.x.stride == n_;
    for (const Panel& panel : panels_) {
      float* const to = direct ? out.x.data + begin * out.x.stride : room.first;
      Multiply(panel, tile, room, to);
      for (int64_t i = 0; int8() && i < count; ++i) {
        ScaleRow(to + i * panel.columns, w_.scales() + panel.begin, tile.scales[i], panel.columns);
      }
      if (!direct) Store(panel, to, begin, count, out);
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

  // to [kRows, columns] = the tile by the panel; of int8 not yet scaled.
  void Multiply(const Panel& panel, const Rows& tile, const Room& room, float* to) const {
    dnnl::stream stream(engine_);
    panel.product.execute(
        stream, {{DNNL_ARG_SRC, memory(Src(), engine_, tile.values)},
                 {DNNL_ARG_WEIGHTS, panel.weights},
                 {DNNL_ARG_DST, memory(panel.dst, engine_, to)},
                 {DNNL_ARG_SCRATCHPAD, memory(panel.scratchpad, engine_, room.scratchpad)}});
    stream.wait();
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

bool PackedGemm::Together(absl::Span<const Product> products) {
  return !products.empty() && std::all_of(products.begin(), products.end(), [&](const Product& p) {
    return p.w != nullptr && DnnlGemm::Of(p.w).RoundsAs(DnnlGemm::Of(products[0].w));
  });
}

void PackedGemm::Run(const Input& a, absl::Span<const Product> products, ThreadPool& pool,
                     std::vector<Scratch>& scratch) {
  DnnlGemm::RunAll(a, products, pool, scratch);
}

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
