// The decoder's row-wise operations and its matrix product, cut into tasks.
#include <algorithm>
#include <cassert>

#include "kernels/chosen_rows.h"
#include "kernels/cpu/amx.h"
#include "kernels/cpu/cpu_ops.h"
#include "kernels/cpu/four_bit_kernels.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/gemv.h"
#include "kernels/cpu/quantize.h"
#include "kernels/cpu/row_kernels.h"
#include "kernels/cpu/tiled_gemv.h"
#include "kernels/cpu/vnni_ready.h"

namespace skipserve::cpu {
namespace {

// Panels of weights in blocks of outputs, widened by `widen`.
template <class Weights>
auto PanelsOf(const Weights& w, void (*widen)(const Weights&, int64_t, int64_t, float*)) {
  static_assert(kPanelStep == Weights::kOutputs);
  return [&w, widen](int64_t begin, int64_t count, float* room) {
    const int64_t first = begin / kPanelStep, blocks = (count + kPanelStep - 1) / kPanelStep;
    widen(w, first, first + blocks, room);
    return WeightPanel{room, blocks * kPanelStep, true};
  };
}

float* Row(TensorView x, int64_t row) {
  assert(row >= 0 && row < x.rows);
  return x.data + row * x.stride;
}

}  // namespace

void CpuOps::Embed(const Weight& table, IndexView ids, TensorView out) {
  const auto& w = static_cast<const CpuWeight&>(table);
  assert(out.rows == ids.size && out.cols == w.in_features());
  ForRows(ids.size, out.cols, [&](int64_t i) {
    assert(ids.data[i] >= 0 && ids.data[i] < w.out_features());
    const int64_t at = ids.data[i] * w.in_features();
    if (w.tiled() != nullptr) {
      w.tiled()->Read(ids.data[i], Row(out, i));
    } else if (w.four_bits() != nullptr) {
      w.four_bits()->Read(ids.data[i], Row(out, i));
    } else if (w.dtype() == DType::kF32) {
      std::copy_n(static_cast<const float*>(w.values()) + at, out.cols, Row(out, i));
    } else {
      ExpandBf16(static_cast<const uint16_t*>(w.values()) + at, out.cols, Row(out, i));
    }
  });
}

void CpuOps::RmsNorm(TensorView x, IndexView rows, TensorView gain, float eps, TensorView out) {
  assert(gain.cols == x.cols && out.cols == x.cols);
  ForRows(out.rows, 2 * x.cols, [&](int64_t i) {
    RmsNormRow(Row(x, RowAt(rows, i)), gain.data, x.cols, eps, Row(out, i));
  });
}

void CpuOps::MatMul(TensorView a, const Weight& weight, TensorView out) {
  const auto& w = static_cast<const CpuWeight&>(weight);
  assert(a.cols == w.in_features() && out.cols == w.out_features() && out.rows == a.rows);
  if (a.rows == 0 || out.cols == 0) return;
  if (w.gemm() != nullptr) {
    PackedGemm::Run({a}, {{w.gemm(), {out}}}, pool_, scratch_);
  } else if (w.tiled() != nullptr) {
    Gemm(RoundedTo(w.tiled()->type(), a, rounded_), PanelsOf(*w.tiled(), &WidenTiles), out, pool_,
         scratch_);
  } else if (w.four_bits() != nullptr) {
    Gemm(a, PanelsOf(*w.four_bits(), &WidenToF32), out, pool_, scratch_);
  } else {
    const auto rows = [&](int64_t begin, int64_t count, float* room) {
      const int64_t at = begin * a.cols;
      if (w.dtype() == DType::kF32) {
        return WeightPanel{static_cast<const float*>(w.values()) + at, a.cols};
      }
      ExpandBf16(static_cast<const uint16_t*>(w.values()) + at, count * a.cols, room);
      return WeightPanel{room, a.cols};
    };
    Gemm(a, rows, out, pool_, scratch_);
  }
}

// `a` as the weights' type has it, rotated where that is, in float32.
TensorView CpuOps::RoundedTo(WeightType type, TensorView a, Scratch& room) {
  if (type != WeightType::kInt8) return a;
  float* const values = room.Floats(a.rows * a.cols + a.cols);
  auto* const codes = reinterpret_cast<int8_t*>(values + a.rows * a.cols);
  for (int64_t i = 0; i < a.rows; ++i) {
    const float scale = QuantizeRow(Row(a, i), a.cols, codes);
    for (int64_t j = 0; j < a.cols; ++j) values[i * a.cols + j] = scale * codes[j];
  }
  return TensorView(values, a.rows, a.cols);
}

void CpuOps::NormMatMul(TensorView x, IndexView rows, TensorView gain, float eps,
                        absl::Span<const Projection> projections) {
  const int64_t n = CountOf(x, rows);
  assert(gain.cols == x.cols);
  std::vector<PackedGemm::Product> products;
  for (const Projection& p : projections) {
    assert(p.w->in_features() == x.cols && p.out.cols == p.w->out_features() && p.out.rows == n);
    products.push_back({static_cast<const CpuWeight*>(p.w)->gemm(), {p.out}});
  }
  if (PackedGemm::Together(products)) {
    PackedGemm::Run({x, rows, gain.data, eps}, products, pool_, scratch_);
    return;
  }
  const TensorView h(shared_.Floats(n * x.cols), n, x.cols);
  RmsNorm(x, rows, gain, eps, h);
  for (const Projection& p : projections) MatMul(h, *p.w, p.out);
}

void CpuOps::MatMulAdd(TensorView a, const Weight& weight, TensorView x, IndexView rows) {
  const auto& w = static_cast<const CpuWeight&>(weight);
  assert(a.cols == w.in_features() && x.cols == w.out_features());
  assert(a.rows == CountOf(x, rows));
  if (w.gemm() != nullptr) {
    PackedGemm::Run({a}, {{w.gemm(), {x, rows, true}}}, pool_, scratch_);
    return;
  }
  const TensorView product(product_.Floats(a.rows * x.cols), a.rows, x.cols);
  MatMul(a, weight, product);
  AddRows(x, rows, product);
}

void CpuOps::FeedForward(TensorView x, IndexView rows, const FeedForwardWeights& w) {
  const auto& gate_up = static_cast<const CpuWeight&>(*w.gate_up);
  const auto& down = static_cast<const CpuWeight&>(*w.down);
  assert(w.gain.cols == x.cols && gate_up.in_features() == x.cols && down.out_features() == x.cols);
  assert(gate_up.out_features() == 2 * down.in_features());
  const PackedGemm* const gemm = gate_up.gemm();
  if (gemm != nullptr && gemm->gated() && down.gemm() != nullptr && gemm->Feeds(*down.gemm())) {
    gemm->FeedForward({x, rows, w.gain.data, w.eps}, *down.gemm(), {x, rows, true}, pool_,
                      scratch_);
    return;
  }
  const int64_t n = CountOf(x, rows), f = down.in_features();
  float* const values = shared_.Floats(n * (x.cols + 3 * f));
  const TensorView h(values, n, x.cols), both(values + n * x.cols, n, 2 * f),
      activated(values + n * (x.cols + 2 * f), n, f);
  RmsNorm(x, rows, w.gain, w.eps, h);
  MatMul(h, gate_up, both);
  SwiGlu(both, activated);
  MatMulAdd(activated, down, x, rows);
}

void CpuOps::DecodeMatMul(TensorView a, const Weight& weight, TensorView out) {
  const auto& w = static_cast<const CpuWeight&>(weight);
  assert(a.cols == w.in_features() && out.cols == w.out_features() && out.rows == a.rows);
  assert(a.rows <= kMaxDecodeRows);
  if (a.rows == 0) return;
  if (w.tiled() != nullptr) return DecodeTiled(a, *w.tiled(), out);
  if (w.four_bits() != nullptr) return DecodeFourBits(a, *w.four_bits(), out);
  constexpr int64_t kTaskBytes =
      48 * 1024;  // of weights: enough tasks to share, few enough to claim cheaply
  const int64_t group_bytes = kGemvGroup * std::max<int64_t>(1, a.cols) * DTypeBytes(w.dtype());
  const int64_t columns = std::max<int64_t>(1, kTaskBytes / group_bytes) * kGemvGroup;
  pool_.ParallelFor((out.cols + columns - 1) / columns, [&](int64_t task, int) {
    const int64_t begin = task * columns;
    Gemv(a, w.values(), w.dtype(), begin, std::min(out.cols, begin + columns), out);
  });
}

void CpuOps::DecodeTiled(TensorView a, const TiledWeights& w, TensorView out) {
  const bool int8 = w.type() == WeightType::kInt8;
  const bool vnni = int8 && VnniIsBest();
  if ((!AmxReady() && !vnni) || (int8 && !w.sums_fit())) {
    const TensorView rounded = RoundedTo(w.type(), a, rounded_);
    ForBlocks(w.output_blocks(),
              [&](int64_t begin, int64_t end) { TiledGemv(rounded, w, begin, end, out); });
    return;
  }
  const int64_t words = w.padded_inputs() / w.per_word();  // a row
  auto* const values = static_cast<uint32_t*>(
      rounded_.Bytes(kMaxDecodeRows * (words * sizeof(uint32_t) + sizeof(float))));
  auto* const scales = reinterpret_cast<float*>(values + kMaxDecodeRows * words);
  // The tiles have as many rows as there are, up to 16; of more both have 16.
  std::fill_n(values, (a.rows <= kAmxRows ? a.rows : kMaxDecodeRows) * words, 0u);
  for (int64_t i = 0; i < a.rows; ++i) {
    scales[i] = w.RoundRow(Row(a, i), values + i * words);
    if (vnni) ToUnsigned(reinterpret_cast<int8_t*>(values + i * words), a.cols);
  }
  const TiledRows rows = {a.rows, values, scales};
  ForBlocks(w.output_blocks(), [&](int64_t begin, int64_t end) {
    (vnni ? VnniInt8Gemv : AmxGemv)(rows, w, begin, end, out);
  });
}

void CpuOps::DecodeFourBits(TensorView a, const FourBitWeights& w, TensorView out) {
  const int64_t groups = w.input_blocks();
  const int64_t room = (a.rows + kAmxRows - 1) / kAmxRows * kAmxRows;  // rows that a tile may read
  const size_t bytes = room * (2 * groups * sizeof(float) + w.k());
  auto* const scales = static_cast<float*>(rounded_.Bytes(bytes));
  float* const sums = scales + room * groups;
  auto* const codes = reinterpret_cast<int8_t*>(sums + room * groups);
  for (int64_t i = 0; i < a.rows; ++i) {
    QuantizeGroups(Row(a, i), w.k(), codes + i * w.k(), scales + i * groups, sums + i * groups);
  }
  static const auto gemv = AmxReady() ? &AmxFourBitGemv : VnniReady() ? &VnniGemv : &FourBitGemv;
  const CodedRows rows = {a.rows, codes, scales, sums};
  ForBlocks(w.output_blocks(), [&](int64_t begin, int64_t end) { gemv(rows, w, begin, end, out); });
}

void CpuOps::AddBias(TensorView x, TensorView bias) {
  assert(bias.cols == x.cols);
  ForRows(x.rows, x.cols, [&](int64_t i) { AddRow(Row(x, i), bias.data, x.cols); });
}

void CpuOps::Rope(TensorView x, IndexView positions, const RopeTable& table, int32_t head_dim) {
  assert(positions.size == x.rows && x.cols % head_dim == 0);
  ForRows(x.rows, 2 * x.cols, [&](int64_t i) {
    const int64_t at = positions.data[i];
    RopeRow(Row(x, i), x.cols / head_dim, head_dim / 2, Row(table.cos, at), Row(table.sin, at));
  });
}

void CpuOps::SwiGlu(TensorView gate_up, TensorView out) {
  assert(gate_up.cols == 2 * out.cols && gate_up.rows == out.rows);
  ForRows(out.rows, 8 * out.cols, [&](int64_t i) {
    const float* gate = Row(gate_up, i);
    SwiGluRow(gate, gate + out.cols, out.cols, Row(out, i));
  });
}

void CpuOps::AddRows(TensorView x, IndexView rows, TensorView delta) {
  assert(delta.cols == x.cols);
  ForRows(delta.rows, x.cols,
          [&](int64_t i) { AddRow(Row(x, RowAt(rows, i)), Row(delta, i), x.cols); });
}

void CpuOps::GatherRows(TensorView x, IndexView rows, TensorView out) {
  assert(out.rows == rows.size && out.cols == x.cols);
  ForRows(rows.size, x.cols,
          [&](int64_t i) { std::copy_n(Row(x, rows.data[i]), x.cols, Row(out, i)); });
}

void CpuOps::GatherIndex(IndexView values, IndexView rows, int32_t* out) {
  for (int64_t i = 0; i < rows.size; ++i) {
    assert(rows.data[i] >= 0 && rows.data[i] < values.size);
    out[i] = values.data[rows.data[i]];
  }
}

}  // namespace skipserve::cpu
