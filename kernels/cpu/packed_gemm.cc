#include "kernels/cpu/packed_gemm.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <string_view>
#include <utility>

#include "kernels/chosen_rows.h"
#include "kernels/cpu/carver.h"
#include "kernels/cpu/four_bit_kernels.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/native_bf16.h"
#include "kernels/cpu/quantize.h"
#include "kernels/cpu/row_kernels.h"
#include "kernels/cpu/vnni_ready.h"
#include "oneapi/dnnl/dnnl.hpp"

namespace skipserve::cpu {
namespace {

using dnnl::memory;

// The only row count that a primitive is made for: a new prompt length compiles nothing, and a row
// is summed in one order whatever its company. With AMX the order follows the row count.
constexpr int64_t kRows = 64;
// Tiles of a task: they share a panel while it is in L2. Panels are made of a feed-forward's gates,
// whose results are halved on the spot, and of weights that are widened; other weights are
// multiplied as a whole: 512 rows by 768 x 576 take 0.39 ms so, 0.44 by panels; by 2 * 1536 x 576
// 1.77 ms by one panel, 1.46 by many. Weights fetched ahead of their panel, by prefetches or by
// loads, gained nothing.
constexpr int64_t kTaskTiles = 8;
constexpr int64_t kPanelBytes = 512 * 1024;

constexpr int64_t kStep = TiledWeights::kOutputs;  // of a panel's columns

// What DnnlGemm multiplies.
struct Tiles {
  int64_t n, k;
  int64_t input_blocks;  // as TiledWeights has them
  WeightType type;
  OutputScales scales;  // of int8
  // Those of outputs [begin, end), whole blocks: where they lie, or `room`, filled.
  std::function<const uint32_t*(int64_t begin, int64_t end, uint32_t* room)> panel;
  bool in_room;

  int64_t step_bytes() const { return input_blocks * TiledWeights::kBlockBytes; }  // kStep columns
};

class DnnlGemm : public PackedGemm {
 public:
  DnnlGemm(Tiles tiles, bool gated)
      : w_(std::move(tiles)),
        n_(w_.n),
        k_(w_.k),
        gated_(gated),
        engine_(dnnl::engine::kind::cpu, 0) {
    const int64_t part = gated ? n_ / 2 : n_;
    const int64_t most =
        gated || w_.in_room ? std::max<int64_t>(1, kPanelBytes / w_.step_bytes()) * kStep : n_;
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

  bool RoundsAs(const DnnlGemm& like) const { return k_ == like.k_ && w_.type == like.w_.type; }

  static const DnnlGemm& Of(const PackedGemm* gemm) { return static_cast<const DnnlGemm&>(*gemm); }

  // What is rounded once is multiplied by each.
  static void RunAll(const Input& a, absl::Span<const Product> products, ThreadPool& pool,
                     std::vector<Scratch>& scratch) {
    const DnnlGemm& first = Of(products[0].w);
    ForTasks(CountOf(a.x, a.rows), pool, [&](int64_t begin, int64_t count, int thread) {
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
  bool Feeds(const PackedGemm& down) const override { return Of(&down).w_.type == w_.type; }

  void FeedForward(const Input& a, const PackedGemm& other, const Output& out, ThreadPool& pool,
                   std::vector<Scratch>& scratch) const override {
    const DnnlGemm& down = Of(&other);
    ForTasks(CountOf(a.x, a.rows), pool, [&](int64_t begin, int64_t count, int thread) {
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
      down.MultiplyTo(activated, room, begin, count, out);
    });
  }

 private:
  struct Panel {
    int64_t begin = 0;
    int64_t columns = 0;
    memory::desc weights, dst, scratchpad;
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
    uint32_t* tiles = nullptr;       // a panel's, where they are widened
    uint32_t* more_tiles = nullptr;  // another's, where one is gated
    int64_t first_size = 0, second_size = 0;
    size_t scratchpad_size = 0, tiles_size = 0;

    void Fit(const DnnlGemm& gemm) {
      const int64_t size = kRows * gemm.most_columns_;
      first_size = std::max(first_size, size);
      if (gemm.gated_) second_size = std::max(second_size, size);
      if (gemm.w_.in_room) {
        const int64_t steps = (gemm.most_columns_ + kStep - 1) / kStep;
        tiles_size = std::max<size_t>(tiles_size, steps * gemm.w_.step_bytes());
      }
      for (const Panel& p : gemm.panels_) {
        scratchpad_size = std::max(scratchpad_size, p.scratchpad.get_size());
      }
    }
    void Take(Carver& carver) {
      first = carver.Take<float>(first_size);
      second = carver.Take<float>(second_size);
      scratchpad = carver.Take<std::byte>(scratchpad_size);
      tiles = carver.Take<uint32_t>(tiles_size / sizeof(uint32_t));
      if (second_size > 0) more_tiles = carver.Take<uint32_t>(tiles_size / sizeof(uint32_t));
    }
  };

  // A panel's products of a task's tiles, one after the other. What oneDNN wants to be told of each
  // is made once: it takes a tenth of the time of a product of 64 rows.
  class Call {
   public:
    // `tiles`: room for the panel's weights, where they are widened.
    Call(const DnnlGemm& gemm, const Panel& panel, const Room& room, uint32_t* tiles)
        : product_(panel.product),
          stream_(gemm.engine_),
          src_(gemm.Src(), gemm.engine_, nullptr),
          dst_(panel.dst, gemm.engine_, nullptr),
          weights_(panel.weights, gemm.engine_, gemm.TilesOf(panel, tiles)),
          scratchpad_(panel.scratchpad, gemm.engine_, room.scratchpad) {}

    // to [kRows, columns] = the tile by the panel; of int8 not yet scaled.
    void Multiply(const Rows& tile, float* to) const {
      src_.set_data_handle(tile.values);
      dst_.set_data_handle(to);
      const dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, src_.get()},
                                      {DNNL_ARG_WEIGHTS, weights_.get()},
                                      {DNNL_ARG_DST, dst_.get()},
                                      {DNNL_ARG_SCRATCHPAD, scratchpad_.get()}};
      dnnl::error::wrap_c_api(
          dnnl_primitive_execute(product_.get(), stream_.get(), std::size(args), args),
          "oneDNN's matmul failed");
    }

   private:
    const dnnl::matmul& product_;
    dnnl::stream stream_;
    memory src_, dst_, weights_, scratchpad_;
  };

  bool int8() const { return w_.type == WeightType::kInt8; }
  bool unsigned_codes() const { return w_.scales.offsets != nullptr; }
  int64_t RowBytes() const { return int8() ? k_ : k_ * static_cast<int64_t>(sizeof(uint16_t)); }
  memory::desc Src() const {
    const auto type = unsigned_codes() ? memory::data_type::u8
                      : int8()         ? memory::data_type::s8
                                       : memory::data_type::bf16;
    return {{kRows, k_}, type, memory::format_tag::ab};
  }

  Panel MakePanel(int64_t begin, int64_t columns) const {
    Panel p;
    p.begin = begin;
    p.columns = columns;
    p.weights = {{k_, columns},
                 int8() ? memory::data_type::s8 : memory::data_type::bf16,
                 int8() ? memory::format_tag::BA16a64b4a : memory::format_tag::BA16a64b2a};
    const auto sums = unsigned_codes() ? memory::data_type::s32 : memory::data_type::f32;
    p.dst = {{kRows, columns}, sums, memory::format_tag::ab};
    dnnl::primitive_attr attr;
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);  // threads share the primitives
    const dnnl::matmul::primitive_desc pd(dnnl::matmul::desc(Src(), p.weights, p.dst), attr,
                                          engine_);
    if (unsigned_codes() && std::string_view(pd.impl_info_str()).starts_with("ref")) {
      throw dnnl::error(dnnl_unimplemented, "oneDNN multiplies this one number at a time");
    }
    p.scratchpad = pd.scratchpad_desc();
    p.product = dnnl::matmul(pd);
    return p;
  }

  void* TilesOf(const Panel& p, uint32_t* room) const {
    const int64_t end = (p.begin + p.columns + kStep - 1) / kStep;
    return const_cast<uint32_t*>(w_.panel(p.begin / kStep, end, room));
  }

  template <class Task>
  static void ForTasks(int64_t count, ThreadPool& pool, Task task) {
    const int64_t tiles = (count + kRows - 1) / kRows;
    const int64_t rows = kRows * std::clamp<int64_t>(tiles / pool.threads(), 1, kTaskTiles);
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
        if (unsigned_codes()) ToUnsigned(reinterpret_cast<int8_t*>(values), k_);
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
      const Call gates(*this, gate, room, room.tiles);
      const Call ups(*this, panels_[p + half], room, room.more_tiles);
      for (int64_t row = 0; row < count; row += kRows) {
        const Rows tile = rows.From(row, RowBytes());
        gates.Multiply(tile, room.first);
        ups.Multiply(tile, room.second);
        for (int64_t i = 0; i < std::min(kRows, count - row); ++i) {
          float* const at = room.first + i * gate.columns;
          const float* const by = room.second + i * gate.columns;
          if (int8()) {
            const OutputScales scales = w_.scales.From(gate.begin);
            ScaledSwiGluRow(at, scales, by, scales.From(down.k_), tile.scales[i], gate.columns,
                            hidden + (row + i) * down.k_ + gate.begin);
          } else {
            SwiGluRow(at, by, gate.columns, at);
            std::byte* const rounded = activated.values + (row + i) * down.RowBytes();
            RoundToBf16Native(at, gate.columns, reinterpret_cast<uint16_t*>(rounded) + gate.begin);
          }
        }
      }
    }
  }

  // The `count` rows to rows [begin, begin + count).
  void MultiplyTo(const Rows& rows, const Room& room, int64_t begin, int64_t count,
                  const Output& out) const {
    const bool direct = panels_.size() == 1 && !out.add && out.rows.empty() && out.x.stride == n_;
    for (const Panel& panel : panels_) {
      const Call call(*this, panel, room, room.tiles);
      for (int64_t row = 0; row < count; row += kRows) {
        const Rows tile = rows.From(row, RowBytes());
        const int64_t here = std::min(kRows, count - row);
        float* const to =
            direct && here == kRows ? out.x.data + (begin + row) * out.x.stride : room.first;
        call.Multiply(tile, to);
        for (int64_t i = 0; int8() && i < here; ++i) {
          ScaleRow(to + i * panel.columns, w_.scales.From(panel.begin), tile.scales[i],
                   panel.columns);
        }
        if (to == room.first) Store(panel, to, begin + row, here, out);
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

  Tiles w_;
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

namespace {

std::unique_ptr<PackedGemm> MakeOf(Tiles tiles, bool gated) {
  if (tiles.n == 0 || tiles.k == 0) return nullptr;
  KeepDnnlOnThisThread();
  try {
    return std::make_unique<DnnlGemm>(std::move(tiles), gated);
  } catch (const dnnl::error&) {
    return nullptr;
  }
}

}  // namespace

std::unique_ptr<PackedGemm> PackedGemm::Make(const TiledWeights& w, bool gated) {
  const auto panel = [&w](int64_t begin, int64_t, uint32_t*) { return w.Outputs(begin); };
  const OutputScales scales = {w.scales(), VnniIsBest() ? w.offsets() : nullptr};
  return MakeOf({w.n(), w.k(), w.input_blocks(), w.type(), scales, panel, false}, gated);
}

std::unique_ptr<PackedGemm> PackedGemm::Make(const FourBitWeights& w, bool gated) {
  const auto panel = [&w](int64_t begin, int64_t end, uint32_t* room) {
    WidenToBf16(w, begin, end, room);
    return room;
  };
  return MakeOf({w.n(), w.k(), w.input_blocks(), WeightType::kBF16, {}, panel, true}, gated);
}

}  // namespace skipserve::cpu
