#include "kernels/cpu/bf16_attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/cpu/amx_attention.h"
#include "kernels/cpu/carver.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/kv_codes.h"
#include "kernels/cpu/native_bf16.h"
#include "kernels/cpu/online_softmax.h"
#include "kernels/cpu/row_kernels.h"
#include "kernels/kv_slot.h"
#include "oneapi/dnnl/dnnl.hpp"

namespace skipserve::cpu {
namespace {

using dnnl::memory;

constexpr int64_t kRows = 192;
constexpr int64_t kStep = 48;
// With 192 rows the tile's scores and weights are 288 KiB: they stay in L2 beside K and V. Two
// Sapphire Rapids cores read 8,000 tokens at 926 tokens/s, with the float32 kernel at 615.
constexpr int64_t kKeys = 256;

// kKeys rows of K as the right side [dim, kKeys], Paired: pairs of neighbouring elements are moved
// as one.
void PackKeys(const uint16_t* const* k, int64_t dim, uint32_t* out) {
  for (int64_t block = 0; block < kKeys; block += 64) {
    for (int64_t pair = 0; pair < dim / 2; ++pair, out += 64) {
      for (int64_t i = 0; i < 64; ++i) {
        std::memcpy(out + i, k[block + i] + 2 * pair, sizeof(uint32_t));
      }
    }
  }
}

// kKeys rows of V as the right side [kKeys, dim], Paired: two neighbouring rows are interleaved.
void PackValues(const uint16_t* const* v, int64_t dim, uint32_t* out) {
  for (int64_t block = 0; block < dim; block += 64) {
    for (int64_t pair = 0; pair < kKeys / 2; ++pair, out += 64) {
      const uint16_t* a = v[2 * pair] + block;
      const uint16_t* b = v[2 * pair + 1] + block;
      for (int64_t i = 0; i < 64; ++i) out[i] = a[i] | uint32_t{b[i]} << 16;
    }
  }
}

class DnnlAttention : public PackedAttention {
 public:
  explicit DnnlAttention(int64_t dim)
      : dim_(dim),
        engine_(dnnl::engine::kind::cpu, 0),
        k_rows_({dim, kKeys}, memory::data_type::bf16, memory::format_tag::ba),
        v_rows_({kKeys, dim}, memory::data_type::bf16, memory::format_tag::ab),
        full_(MakeTile(kRows, nullptr)),
        pack_k_(Reorder(k_rows_, full_.scores.weights)),
        pack_v_(Reorder(v_rows_, full_.values.weights)),
        known_layout_(dim % 64 == 0 && full_.scores.weights == Paired(dim, kKeys) &&
                      full_.values.weights == Paired(kKeys, dim)) {
    for (int64_t rows = kStep; rows < kRows; rows += kStep)
      smaller_.push_back(MakeTile(rows, &full_));
  }

  // The queries and outputs of four full tiles stay in L2.
  TileShape tiles() const override { return {kStep, kRows, 4 * kRows}; }

  size_t ScratchBytes(int64_t num_rows, int64_t group) const override {
    alignas(64) std::byte base[1];
    return Carve(num_rows * group, base).bytes;
  }

  void Run(const PrefillTask& task, TensorView q, int64_t group, const KvPool& pool, void* scratch,
           TensorView out) const override {
    KeepDnnlOnThisThread();
    const State s = Carve(task.num_rows * group, static_cast<std::byte*>(scratch));
    LoadQueries(task, q, group, s);
    const int64_t first = task.segment->kv_len - task.segment->row_count + task.first_row;
    const int64_t end = first + task.num_rows;
    for (int64_t begin = 0; begin < end; begin += kKeys) {
      LoadKeys(task, pool, begin, std::min(kKeys, end - begin), s);
      for (int64_t tile = 0; tile < s.tiles; ++tile) {
        const int64_t columns = task.num_rows * group;
        if (CountVisible(tile, first, begin, columns, group, s)) {
          Attend(TileOf(std::min(kRows, columns - tile * kRows)), tile, s);
        }
      }
    }
    StoreOutput(task, group, s, out);
  }

 private:
  // What a product of a tile needs.
  struct Matmul {
    memory::desc weights;  // the layout that its right side wants
    memory::desc scratchpad;
    dnnl::matmul primitive;
  };

  // Both products for a tile of some rows.
  struct Tile {
    int64_t rows = 0;
    memory::desc q, s, p, o;
    Matmul scores, values;
  };

  struct State {
    int64_t tiles = 0;
    size_t bytes = 0;
    uint16_t* q = nullptr;       // [tiles, kRows, dim]
    float* o = nullptr;          // [tiles, kRows, dim], not yet divided by sum
    float* max = nullptr;        // [tiles, kRows]
    float* sum = nullptr;        // [tiles, kRows]
    int32_t* visible = nullptr;  // [kRows]
    uint16_t* k_rows = nullptr;  // [kKeys, dim]
    uint16_t* v_rows = nullptr;  // [kKeys, dim]
    std::byte* k = nullptr;      // the same, reordered
    std::byte* v = nullptr;
    float* row = nullptr;   // [dim], widened
    float* s = nullptr;     // [kRows, kKeys]
    uint16_t* p = nullptr;  // [kRows, kKeys]
    std::byte* work = nullptr;
  };

  // With `like`, its right sides have the layouts of that one's, so that K and V are reordered once
  // for tiles of any size.
  Tile MakeTile(int64_t rows, const Tile* like) const {
    Tile t;
    t.rows = rows;
    t.q = {{rows, dim_}, memory::data_type::bf16, memory::format_tag::ab};
    t.s = {{rows, kKeys}, memory::data_type::f32, memory::format_tag::ab};
    t.p = {{rows, kKeys}, memory::data_type::bf16, memory::format_tag::ab};
    t.o = {{rows, dim_}, memory::data_type::f32, memory::format_tag::ab};
    const auto any = [](memory::dims dims) {
      return memory::desc(dims, memory::data_type::bf16, memory::format_tag::any);
    };
    t.scores = Product(t.q, like ? like->scores.weights : any({dim_, kKeys}), t.s, /*add=*/false);
    t.values = Product(t.p, like ? like->values.weights : any({kKeys, dim_}), t.o, /*add=*/true);
    return t;
  }

  // What AMX wants of a right side [k, n]: in blocks of 32 k and 64 n, pairs of k side by side.
  static memory::desc Paired(int64_t k, int64_t n) {
    return {{k, n}, memory::data_type::bf16, memory::format_tag::BA16a64b2a};
  }

  // The smallest tile that holds so many rows.
  const Tile& TileOf(int64_t rows) const {
    const int64_t steps = (rows + kStep - 1) / kStep;
    return steps * kStep < kRows ? smaller_[steps - 1] : full_;
  }

  Matmul Product(const memory::desc& a, const memory::desc& b, const memory::desc& c,
                 bool add) const {
    dnnl::primitive_attr attr;
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);  // threads share the primitives
    if (add) {
      dnnl::post_ops sum;
      sum.append_sum(1.0f);
      attr.set_post_ops(sum);
    }
    const dnnl::matmul::primitive_desc pd(dnnl::matmul::desc(a, b, c), attr, engine_);
    return {pd.weights_desc(), pd.scratchpad_desc(), dnnl::matmul(pd)};
  }

  dnnl::reorder Reorder(const memory::desc& from, const memory::desc& to) const {
    return dnnl::reorder(dnnl::reorder::primitive_desc(engine_, from, engine_, to));
  }

  State Carve(int64_t columns, std::byte* base) const {
    State s;
    s.tiles = (columns + kRows - 1) / kRows;
    Carver carver(base);
    s.q = carver.Take<uint16_t>(s.tiles * kRows * dim_);
    s.o = carver.Take<float>(s.tiles * kRows * dim_);
    s.max = carver.Take<float>(s.tiles * kRows);
    s.sum = carver.Take<float>(s.tiles * kRows);
    s.visible = carver.Take<int32_t>(kRows);
    s.k_rows = carver.Take<uint16_t>(kKeys * dim_);
    s.v_rows = carver.Take<uint16_t>(kKeys * dim_);
    s.row = carver.Take<float>(dim_);
    s.k = carver.Take<std::byte>(full_.scores.weights.get_size());
    s.v = carver.Take<std::byte>(full_.values.weights.get_size());
    s.s = carver.Take<float>(kRows * kKeys);
    s.p = carver.Take<uint16_t>(kRows * kKeys);
    size_t work = 0;
    for (int64_t rows = kStep; rows <= kRows; rows += kStep) {
      const Tile& tile = TileOf(rows);
      work = std::max({work, tile.scores.scratchpad.get_size(), tile.values.scratchpad.get_size()});
    }
    s.work = carver.Take<std::byte>(work);
    s.bytes = carver.used();
    return s;
  }

  // Column c of the task is row c / group, head c % group; what is past the last is zero.
  void LoadQueries(const PrefillTask& t, TensorView q, int64_t group, const State& s) const {
    const int64_t columns = t.num_rows * group;
    for (int64_t c = 0; c < columns; ++c) {
      const int64_t row = t.segment->row_begin + t.first_row + c / group;
      RoundToBf16(q.data + row * q.stride + (t.kv_head * group + c % group) * dim_, dim_,
                  s.q + c * dim_);
    }
    std::fill(s.q + columns * dim_, s.q + s.tiles * kRows * dim_, uint16_t{0});
    std::fill_n(s.o, s.tiles * kRows * dim_, 0.0f);
    std::fill_n(s.max, s.tiles * kRows, std::numeric_limits<float>::lowest());
    std::fill_n(s.sum, s.tiles * kRows, 0.0f);
  }

  // K and V of tokens [begin, begin + count), zeros after them, in the products' layouts.
  void LoadKeys(const PrefillTask& t, const KvPool& pool, int64_t begin, int64_t count,
                const State& s) const {
    const uint16_t* k[kKeys];
    const uint16_t* v[kKeys];
    Find(t, pool, false, begin, count, s, s.k_rows, k);
    Find(t, pool, true, begin, count, s, s.v_rows, v);
    if (known_layout_) {
      alignas(64) static constexpr uint16_t kNothing[4096] = {};
      std::fill(k + count, k + kKeys, kNothing);
      std::fill(v + count, v + kKeys, kNothing);
      PackKeys(k, dim_, reinterpret_cast<uint32_t*>(s.k));
      PackValues(v, dim_, reinterpret_cast<uint32_t*>(s.v));
      return;
    }
    for (int64_t i = 0; i < count && pool.layout.dtype == DType::kBF16; ++i) {
      std::copy_n(k[i], dim_, s.k_rows + i * dim_);
      std::copy_n(v[i], dim_, s.v_rows + i * dim_);
    }
    std::fill(s.k_rows + count * dim_, s.k_rows + kKeys * dim_, uint16_t{0});
    std::fill(s.v_rows + count * dim_, s.v_rows + kKeys * dim_, uint16_t{0});
    dnnl::stream stream(engine_);
    memory k_from(k_rows_, engine_, s.k_rows), k_to(full_.scores.weights, engine_, s.k);
    memory v_from(v_rows_, engine_, s.v_rows), v_to(full_.values.weights, engine_, s.v);
    pack_k_.execute(stream, k_from, k_to);
    pack_v_.execute(stream, v_from, v_to);
    stream.wait();
  }

  // The K (or V) of tokens [begin, begin + count): where they lie, or, of 8 bits, widened to
  // `room`.
  void Find(const PrefillTask& t, const KvPool& pool, bool is_v, int64_t begin, int64_t count,
            const State& s, uint16_t* room, const uint16_t** rows) const {
    if (pool.layout.dtype == DType::kBF16) {
      return KvRows<uint16_t>(pool, *t.segment, t.kv_head, is_v, begin, count, rows);
    }
    const int8_t* codes[kKeys];
    const uint16_t* scales[kKeys];
    KvCodeRows(pool, *t.segment, t.kv_head, is_v, begin, count, codes, scales);
    for (int64_t i = 0; i < count; ++i, room += dim_) {
      ExpandKv(codes[i], scales[i], dim_, s.row);
      RoundToBf16Native(s.row, dim_, room);
      rows[i] = room;
    }
  }

  // How many of the keys from token `begin` on each row of a tile sees. False if none sees any.
  static bool CountVisible(int64_t tile, int64_t first, int64_t begin, int64_t columns,
                           int64_t group, const State& s) {
    bool any = false;
    for (int64_t r = 0; r < kRows; ++r) {
      const int64_t column = tile * kRows + r;
      const int64_t seen = column < columns ? first + column / group + 1 - begin : 0;
      s.visible[r] = static_cast<int32_t>(std::clamp<int64_t>(seen, 0, kKeys));
      any |= seen > 0;
    }
    return any;
  }

  // The online softmax of flash attention: o += softmax(q K^T) V for one tile and key block.
  void Attend(const Tile& t, int64_t tile, const State& s) const {
    float* const o = s.o + tile * kRows * dim_;
    Multiply(t.scores, {t.q, engine_, s.q + tile * kRows * dim_}, s.k, {t.s, engine_, s.s}, s.work);
    OnlineSoftmax({t.rows, kKeys, dim_, 1.44269504f / std::sqrt(static_cast<float>(dim_)),
                   s.visible, s.s, s.p, s.max + tile * kRows, s.sum + tile * kRows, o});
    Multiply(t.values, {t.p, engine_, s.p}, s.v, {t.o, engine_, o}, s.work);
  }

  void Multiply(const Matmul& m, const memory& a, std::byte* b, const memory& c,
                std::byte* work) const {
    dnnl::stream stream(engine_);
    m.primitive.execute(stream, {{DNNL_ARG_SRC, a},
                                 {DNNL_ARG_WEIGHTS, memory(m.weights, engine_, b)},
                                 {DNNL_ARG_DST, c},
                                 {DNNL_ARG_SCRATCHPAD, memory(m.scratchpad, engine_, work)}});
    stream.wait();
  }

  void StoreOutput(const PrefillTask& t, int64_t group, const State& s, TensorView out) const {
    for (int64_t c = 0; c < t.num_rows * group; ++c) {
      const int64_t row = t.segment->row_begin + t.first_row + c / group;
      float* to = out.data + row * out.stride + (t.kv_head * group + c % group) * dim_;
      const float inverse = 1.0f / s.sum[c];
      for (int64_t j = 0; j < dim_; ++j) to[j] = s.o[c * dim_ + j] * inverse;
    }
  }

  int64_t dim_;
  dnnl::engine engine_;
  memory::desc k_rows_, v_rows_;
  Tile full_;
  std::vector<Tile> smaller_;  // of kStep rows, two kSteps, ...
  dnnl::reorder pack_k_, pack_v_;
  const bool known_layout_;  // Paired: packing by hand takes a fifth of the library's time
};

}  // namespace

std::unique_ptr<PackedAttention> MakeBf16Attention(int64_t head_dim) {
  if (auto amx = MakeAmxAttention(head_dim)) return amx;
  if (!CpuHasFastBf16()) return nullptr;
  KeepDnnlOnThisThread();
  try {
    return std::make_unique<DnnlAttention>(head_dim);
  } catch (const dnnl::error&) {
    return nullptr;
  }
}

}  // namespace skipserve::cpu
