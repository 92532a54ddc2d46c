// Times the CPU backend's operations on the shapes of a 135M Llama: width 576, 9 heads, 3 KV heads
// of 64, FFN 1536. The last argument of each case is the number of threads.
#include <algorithm>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "benchmark/benchmark.h"
#include "kernels/ops.h"

namespace skipserve {
namespace {

using benchmark::Counter;

std::vector<float> Random(int64_t n, uint32_t seed = 1) {
  std::mt19937 bits(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(std::min<int64_t>(n, 1 << 20));
  for (float& v : values) v = normal(bits);
  const size_t period = values.size();
  values.resize(n);
  for (size_t i = period; i < values.size(); ++i) values[i] = values[i - period];
  return values;
}

void SetRates(benchmark::State& state, double flops, double bytes) {
  state.counters["FLOP/s"] = Counter(flops, Counter::kIsIterationInvariantRate);
  state.counters["B/s"] = Counter(bytes, Counter::kIsIterationInvariantRate);
}

// m, n, k, type of the weights (0 f32, 1 bf16, 2 int8, 3 int4), threads
// Few rows are a decode step.
void MatMul(benchmark::State& state) {
  const int64_t m = state.range(0), n = state.range(1), k = state.range(2);
  const WeightType type = static_cast<WeightType>(state.range(3));
  const auto ops = MakeCpuOps(static_cast<int>(state.range(4)));
  std::vector<float> a = Random(m * k), w = Random(n * k, 2), out(m * n);
  const auto read = [&](int64_t row, int64_t count, float* to) {
    std::copy_n(&w[row * k], count * k, to);
  };
  const auto read_four_bits = [&](int64_t, int64_t count, const FourBitRows& to) {
    for (int64_t i = 0; i < count * k; ++i) to.codes[i] = static_cast<uint8_t>(i * 7 % 16);
    std::fill_n(to.scales, count * k / FourBitRows::kGroup, 0.1f);
    std::fill_n(to.minima, count * k / FourBitRows::kGroup, -0.8f);
  };
  const auto weight = *ops->LoadWeight({n, k, read, read_four_bits}, type, WeightUse::kAll);
  const auto run = m <= Ops::kMaxDecodeRows ? &Ops::DecodeMatMul : &Ops::MatMul;
  for (auto _ : state) (ops.get()->*run)({a.data(), m, k}, *weight, {out.data(), m, n});
  SetRates(state, 2.0 * m * n * k, static_cast<double>(weight->bytes()));
}

// A cache of `kv_len` tokens for `sequences` sequences, as a pool of contiguous blocks.
struct Cache {
  Cache(Ops& ops, DType dtype, int64_t sequences, int64_t kv_len, int64_t rows, int32_t kv_heads,
        int32_t dim) {
    const KvLayout layout = {dtype, 32, kv_heads, dim};
    const int64_t blocks = (kv_len + 31) / 32;
    ids.resize(sequences * blocks);
    std::iota(ids.begin(), ids.end(), 0);
    memory = *ops.Allocate(ids.size() * layout.block_bytes());
    pool = {memory.data(), layout};
    std::vector<float> kv = Random(kv_len * kv_heads * dim, 3);
    const TensorView view(kv.data(), kv_len, int64_t{kv_heads} * dim);
    for (int64_t s = 0; s < sequences; ++s) {
      const IndexView table = {ids.data() + s * blocks, blocks};
      ops.KvWrite(view, view, {KvSegment{0, kv_len, kv_len, table}}, pool);
      segments.push_back({s * rows, rows, kv_len, table});
    }
  }
  std::vector<int32_t> ids;
  Buffer memory;
  KvPool pool;
  std::vector<KvSegment> segments;
};

// rows, kv_len, head_dim, type, threads, whether it may compute in int8
void Prefill(benchmark::State& state) {
  const int64_t rows = state.range(0), kv_len = state.range(1), dim = state.range(2);
  const int64_t heads = dim == 64 ? 9 : 8, kv_heads = dim == 64 ? 3 : 2;
  const auto ops = MakeCpuOps(static_cast<int>(state.range(4)), state.range(5) != 0);
  const Cache cache(*ops, static_cast<DType>(state.range(3)), 1, kv_len, rows,
                    static_cast<int32_t>(kv_heads), static_cast<int32_t>(dim));
  std::vector<float> q = Random(rows * heads * dim), out(q.size());
  for (auto _ : state) {
    ops->PrefillAttention({q.data(), rows, heads * dim}, cache.segments, cache.pool,
                          {out.data(), rows, heads * dim});
  }
  const double pairs = static_cast<double>(rows) * kv_len - rows * (rows - 1) / 2.0;
  SetRates(state, 4.0 * pairs * heads * dim, 0);
}

// sequences, kv_len, type, threads
void Decode(benchmark::State& state) {
  const int64_t sequences = state.range(0), kv_len = state.range(1);
  const auto dtype = static_cast<DType>(state.range(2));
  const auto ops = MakeCpuOps(static_cast<int>(state.range(3)));
  const Cache cache(*ops, dtype, sequences, kv_len, 1, 3, 64);
  std::vector<float> q = Random(sequences * 576), out(q.size());
  for (auto _ : state) {
    ops->DecodeAttention({q.data(), sequences, 576}, cache.segments, cache.pool,
                         {out.data(), sequences, 576});
  }
  const double tokens = static_cast<double>(sequences) * kv_len;
  SetRates(state, 4.0 * tokens * 576, tokens * cache.pool.layout.token_bytes());
}

// window, candidates, threads
void Probe(benchmark::State& state) {
  const int64_t window = state.range(0), candidates = state.range(1);
  const auto ops = MakeCpuOps(static_cast<int>(state.range(2)));
  std::vector<float> q = Random(window * 576), k = Random(candidates * 192, 2), scores(candidates);
  const ProbeParams params = {9, 3, 64, Reduce::kMax, Reduce::kMax, 15};
  for (auto _ : state)
    ops->ProbeScores({q.data(), window, 576}, {k.data(), candidates, 192}, params, scores.data());
  SetRates(state, 2.0 * window * 576 * candidates, 0);
}

// candidates, threads
void SelectTop(benchmark::State& state) {
  const int64_t n = state.range(0);
  const auto ops = MakeCpuOps(static_cast<int>(state.range(1)));
  std::vector<float> scores = Random(n);
  std::vector<int32_t> rows(n);
  for (auto _ : state) ops->SelectTop(scores.data(), n, n / 4, 4, 16, rows.data());
}

// rows, threads
void RmsNorm(benchmark::State& state) {
  const int64_t rows = state.range(0);
  const auto ops = MakeCpuOps(static_cast<int>(state.range(1)));
  std::vector<float> x = Random(rows * 576), gain = Random(576), out(x.size());
  for (auto _ : state)
    ops->RmsNorm({x.data(), rows, 576}, {}, {gain.data(), 1, 576}, 1e-5f, {out.data(), rows, 576});
  SetRates(state, 0, 8.0 * rows * 576);
}

void SwiGlu(benchmark::State& state) {
  const int64_t rows = state.range(0);
  const auto ops = MakeCpuOps(static_cast<int>(state.range(1)));
  std::vector<float> x = Random(rows * 3072), out(rows * 1536);
  for (auto _ : state) ops->SwiGlu({x.data(), rows, 3072}, {out.data(), rows, 1536});
  SetRates(state, 0, 12.0 * rows * 1536);
}

void Rope(benchmark::State& state) {
  const int64_t rows = state.range(0);
  const auto ops = MakeCpuOps(static_cast<int>(state.range(1)));
  std::vector<float> x = Random(rows * 576), angles(rows * 32, 0.7f);
  std::vector<int32_t> positions(rows);
  std::iota(positions.begin(), positions.end(), 0);
  const TensorView table(angles.data(), rows, 32);
  for (auto _ : state)
    ops->Rope({x.data(), rows, 576}, {positions.data(), rows}, {table, table}, 64);
  SetRates(state, 0, 8.0 * rows * 576);
}

#define SKIPSERVE_BENCH(name) \
  BENCHMARK(name)->UseRealTime()->Unit(benchmark::kMicrosecond)->MinTime(0.3)

SKIPSERVE_BENCH(MatMul)
    ->ArgNames({"m", "n", "k", "type", "threads"})
    ->ArgsProduct({{512}, {576}, {576, 1536}, {0, 1}, {1, 2}})
    ->ArgsProduct({{512}, {192, 3072}, {576}, {0, 1}, {1, 2}})
    ->ArgsProduct({{1, 8, 32}, {3072}, {576}, {0, 1, 2, 3}, {1, 2}})
    ->ArgsProduct({{1}, {49152}, {576}, {0, 1}, {1, 2}});
SKIPSERVE_BENCH(Prefill)
    ->ArgNames({"rows", "kv_len", "head_dim", "type", "threads", "int8"})
    ->ArgsProduct({{32, 64, 128, 512}, {512, 8000}, {64}, {0, 1}, {1, 2}, {0}})
    ->ArgsProduct({{2048}, {8000}, {64, 128}, {0, 1}, {2}, {0}})
    ->ArgsProduct({{32, 512, 2048}, {8000}, {64}, {1}, {1, 2}, {1}});
SKIPSERVE_BENCH(Decode)
    ->ArgNames({"sequences", "kv_len", "type", "threads"})
    ->ArgsProduct({{1, 16}, {500, 8000}, {0, 1}, {1, 2}});
SKIPSERVE_BENCH(Probe)
    ->ArgNames({"window", "candidates", "threads"})
    ->ArgsProduct({{1, 16, 64}, {8000}, {1, 2}});
SKIPSERVE_BENCH(SelectTop)->ArgNames({"candidates", "threads"})->ArgsProduct({{8000, 32000}, {1}});
SKIPSERVE_BENCH(RmsNorm)->ArgNames({"rows", "threads"})->ArgsProduct({{1, 512}, {1, 2}});
SKIPSERVE_BENCH(SwiGlu)->ArgNames({"rows", "threads"})->ArgsProduct({{1, 512}, {1, 2}});
SKIPSERVE_BENCH(Rope)->ArgNames({"rows", "threads"})->ArgsProduct({{1, 512}, {1, 2}});

}  // namespace
}  // namespace skipserve
