// The paged cache and attention over it: CPU against reference, and the equalities that batching
// and paging promise.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/bf16.h"
#include "kernels/cpu/amx.h"
#include "kernels/cpu/native_bf16.h"
#include "kernels/cpu/vnni_ready.h"
#include "kernels/kv_codes.h"
#include "kernels/reference/reference_ops.h"
#include "tests/kernels/support.h"

namespace skipserve::testing {
namespace {

// What the cache keeps, and whether prompts may be attended to in 8 bits.
struct Kind {
  DType dtype;
  bool int8;
};
constexpr Kind kKinds[] = {{DType::kF32, false},
                           {DType::kBF16, false},
                           {DType::kInt8, false},
                           {DType::kBF16, true},
                           {DType::kInt8, true}};

struct Shape {
  int64_t heads;
  int64_t kv_heads;
  int64_t head_dim;
  int64_t block_tokens;
  DType dtype;
  bool int8 = false;
};

KvLayout LayoutOf(const Shape& s) {
  return {s.dtype, static_cast<int32_t>(s.block_tokens), static_cast<int32_t>(s.kv_heads),
          static_cast<int32_t>(s.head_dim)};
}

// The rows of one sequence in a batch.
struct Rows {
  int64_t count;
  int64_t kv_len;
};

std::vector<PagedCache::Sequence> RandomSequences(const Shape& s, const std::vector<Rows>& batch,
                                                  uint32_t seed) {
  std::vector<PagedCache::Sequence> sequences;
  for (const Rows& r : batch) {
    const int64_t cols = s.kv_heads * s.head_dim;
    sequences.push_back({Random(r.kv_len, cols, seed), Random(r.kv_len, cols, seed + 1)});
    seed += 2;
  }
  return sequences;
}

using Operation = void (Ops::*)(TensorView q, absl::Span<const KvSegment> segments,
                                const KvPool& pool, TensorView out);
constexpr Operation kPrefill = &Ops::PrefillAttention;
constexpr Operation kDecode = &Ops::DecodeAttention;

Matrix Attend(Ops& ops, Operation operation, const PagedCache& cache, const Matrix& q,
              const std::vector<KvSegment>& segments, int64_t padding = 0) {
  const Device in(ops, q, padding);
  const Device out = Device::Empty(ops, q.rows, q.cols, padding);
  (ops.*operation)(in.view(), segments, cache.pool(), out.view());
  return out.Get();
}

std::vector<KvSegment> Segments(const PagedCache& cache, const std::vector<Rows>& batch) {
  std::vector<KvSegment> segments;
  int64_t row = 0;
  for (size_t i = 0; i < batch.size(); ++i) {
    segments.push_back(cache.Segment(i, row, batch[i].count, batch[i].kv_len));
    row += batch[i].count;
  }
  return segments;
}

int64_t TotalRows(const std::vector<Rows>& batch) {
  int64_t rows = 0;
  for (const Rows& r : batch) rows += r.count;
  return rows;
}

Matrix Slice(const Matrix& m, int64_t begin, int64_t count) {
  Matrix out(count, m.cols);
  std::copy_n(m.row(begin), count * m.cols, out.values.begin());
  return out;
}

// Whether attention rounds queries, keys and values to 8 bits.
bool RoundsToInt8(const Shape& s, Operation operation) {
  return s.int8 && operation == kPrefill && s.head_dim % 64 == 0 && cpu::VnniReady() &&
         !cpu::AmxReady();
}

// Whether it rounds queries and weights to bf16, and what is kept in 8 bits too.
bool RoundsToBf16(const Shape& s, Operation operation) {
  return s.dtype != DType::kF32 && operation == kPrefill && !RoundsToInt8(s, operation) &&
         cpu::CpuHasFastBf16();
}

Matrix RoundedToInt8(Matrix m, int64_t head_dim) {
  for (int64_t at = 0; at < m.rows * m.cols; at += head_dim) {
    RoundToInt8(m.values.data() + at, head_dim);
  }
  return m;
}

Matrix RoundedTo(DType dtype, Matrix m) {
  if (dtype != DType::kF32) {
    for (float& x : m.values) x = Bf16ToF32(F32ToBf16(x));
  }
  return m;
}

// What K or V are once they are kept in 8 bits.
Matrix FromCodes(Matrix m, int64_t head_dim) {
  std::vector<int8_t> codes(head_dim);
  std::vector<uint16_t> scales(head_dim);
  for (int64_t at = 0; at < m.rows * m.cols; at += head_dim) {
    float* const x = m.values.data() + at;
    ToKvCodes(x, head_dim, codes.data(), scales.data());
    for (int64_t i = 0; i < head_dim; ++i) {
      x[i] = codes[i] * Bf16ToF32(scales[i / KvLayout::kGroup]);
    }
  }
  return m;
}

// What is attended to, in float32: rounding that is not the operation's own is not among its
// errors.
std::vector<PagedCache::Sequence> AsKept(const Shape& s, Operation operation,
                                         std::vector<PagedCache::Sequence> sequences) {
  for (PagedCache::Sequence& sequence : sequences) {
    for (Matrix* m : {&sequence.k, &sequence.v}) {
      if (s.dtype == DType::kInt8) *m = FromCodes(*m, s.head_dim);
      if (s.dtype == DType::kBF16 || RoundsToBf16(s, operation)) *m = RoundedTo(s.dtype, *m);
      if (RoundsToInt8(s, operation)) *m = RoundedToInt8(*m, s.head_dim);
    }
  }
  return sequences;
}

Matrix Expected(Shape s, Operation operation, const std::vector<PagedCache::Sequence>& sequences,
                const Matrix& q, const std::vector<Rows>& batch) {
  const auto reference = MakeReferenceOps();
  const auto kept = AsKept(s, operation, sequences);
  s.dtype = DType::kF32;
  const PagedCache cache(*reference, LayoutOf(s), kept, false);
  const Matrix seen = RoundsToInt8(s, operation) ? RoundedToInt8(q, s.head_dim) : q;
  return Attend(*reference, kPrefill, cache, seen, Segments(cache, batch));
}

// A score errs by (d + 4) roundings of |q| |k| / sqrt(d) in each backend, a weight by twice that
// (largest score and own) and its exponential; n weights are summed; a result is a mean of V with
// these weights.
double Tolerance(const Shape& s, Operation operation, const Matrix& q,
                 const std::vector<PagedCache::Sequence>& sequences) {
  double k_norm = 0.0, v_max = 0.0;
  int64_t n = 0;
  for (const auto& seq : sequences) {
    k_norm = std::max(k_norm, MaxRowNorm(seq.k, s.head_dim));
    for (const float x : seq.v.values) v_max = std::max(v_max, std::abs(double{x}));
    n = std::max(n, seq.k.rows);
  }
  const double score =
      (s.head_dim + 4) * kUnit * MaxRowNorm(q, s.head_dim) * k_norm / std::sqrt(s.head_dim);
  // Sums of n weights err by about sqrt(n) roundings, n at worst; 2 sqrt(n) is never reached by
  // chance.
  // A softmax's weight errs by 2^-8 where it is rounded to bf16, on AMX by 0.0072, by 2^-16 of its
  // block's largest and 1e-4 in 15 bits (see there). What some gain others lose, so that an output
  // errs by half of it.
  const double weights = RoundsToInt8(s, operation)    ? 1.5e-4
                         : !RoundsToBf16(s, operation) ? 0.0
                         : cpu::AmxReady()             ? 0.0036
                                                       : 1.0 / (1 << 9) + 1e-4;
  return (2 * (2 * score + (8 + 2 * std::sqrt(n)) * kUnit) + weights) * v_max;
}

TEST(Attention, MatchesReference) {
  const std::vector<std::vector<Rows>> batches = {
      {{1, 1}},
      {{1, 700}},
      {{37, 37}},
      {{130, 391}},
      {{64, 256}, {65, 257}, {300, 800}},
      {{5, 5}, {1, 300}, {0, 9}, {3, 258}, {1, 1}, {4, 513}, {70, 140}},
  };
  for (const auto& [dtype, int8] : kKinds) {
    for (const Shape& s :
         {Shape{9, 3, 64, 32, dtype, int8}, Shape{4, 1, 8, 5, dtype}, Shape{2, 2, 40, 16, dtype},
          Shape{8, 2, 128, 16, dtype, int8}, Shape{1, 1, 16, 1, dtype}, Shape{26, 1, 32, 64, dtype},
          Shape{2, 1, 96, 16, dtype}, Shape{2, 1, 256, 32, dtype, int8},
          Shape{2, 1, 320, 32, dtype, int8}}) {
      if (int8 && !s.int8) continue;
      for (const auto& batch : batches) {
        SCOPED_TRACE(::testing::Message()
                     << "heads " << s.heads << " dim " << s.head_dim << " type "
                     << static_cast<int>(dtype) << " rows " << batch[0].count);
        const auto sequences = RandomSequences(s, batch, 5);
        const Matrix q = RoundedTo(dtype, Random(TotalRows(batch), s.heads * s.head_dim, 3));
        const Matrix read = Expected(s, kPrefill, sequences, q, batch);
        const Matrix decoded = Expected(s, kDecode, sequences, q, batch);
        ForEachCpu(
            [&](Ops& cpu) {
              const PagedCache cache(cpu, LayoutOf(s), sequences, true);
              for (const Operation operation : {kPrefill, kDecode}) {
                EXPECT_LE(MaxDifference(Attend(cpu, operation, cache, q, Segments(cache, batch), 3),
                                        operation == kPrefill ? read : decoded),
                          Tolerance(s, operation, q, sequences));
              }
            },
            s.int8);
      }
    }
  }
}

// The same in double precision and with no paging: the reference is not trusted either.
TEST(Attention, ReferenceMatchesFormula) {
  const Shape s = {6, 2, 16, 4, DType::kF32};
  const std::vector<Rows> batch = {{7, 23}};
  const auto sequences = RandomSequences(s, batch, 8);
  const Matrix q = Random(7, s.heads * s.head_dim, 9);
  Matrix expected(q.rows, q.cols);
  for (int64_t i = 0; i < q.rows; ++i) {
    for (int64_t h = 0; h < s.heads; ++h) {
      const int64_t visible = 23 - 7 + i + 1, col = h / 3 * s.head_dim;
      std::vector<double> weight(visible), sum(s.head_dim);
      double total = 0.0;
      for (int64_t t = 0; t < visible; ++t) {
        double dot = 0.0;
        for (int64_t j = 0; j < s.head_dim; ++j) {
          dot += double{q.at(i, h * s.head_dim + j)} * sequences[0].k.at(t, col + j);
        }
        weight[t] = std::exp(dot / 4.0);
        total += weight[t];
      }
      for (int64_t t = 0; t < visible; ++t) {
        for (int64_t j = 0; j < s.head_dim; ++j)
          sum[j] += weight[t] / total * sequences[0].v.at(t, col + j);
      }
      for (int64_t j = 0; j < s.head_dim; ++j)
        expected.at(i, h * s.head_dim + j) = static_cast<float>(sum[j]);
    }
  }
  const auto reference = MakeReferenceOps();
  const PagedCache cache(*reference, LayoutOf(s), sequences, true);
  EXPECT_LE(MaxDifference(Attend(*reference, kPrefill, cache, q, Segments(cache, batch)), expected),
            Tolerance(s, kPrefill, q, sequences));
}

// What the reference keeps in fewer bits is what a float32 cache of the rounded values has.
TEST(Attention, ReferenceKeepsWhatItSays) {
  for (const DType dtype : {DType::kBF16, DType::kInt8}) {
    const Shape s = {4, 2, 40, 4, dtype};
    const std::vector<Rows> batch = {{7, 23}};
    const auto sequences = RandomSequences(s, batch, 8);
    const Matrix q = Random(7, s.heads * s.head_dim, 9);
    const auto reference = MakeReferenceOps();
    const PagedCache cache(*reference, LayoutOf(s), sequences, true);
    EXPECT_EQ(Attend(*reference, kPrefill, cache, q, Segments(cache, batch)).values,
              Expected(s, /*operation=*/kDecode, sequences, q, batch).values);  // rounds nothing
  }
}

TEST(Attention, ShuffledBlocksEqualContiguous) {
  for (const auto& [dtype, int8] : kKinds) {
    const Shape s = {9, 3, 64, 16, dtype, int8};
    const std::vector<Rows> batch = {{1, 533}, {45, 161}};
    const auto sequences = RandomSequences(s, batch, 21);
    const Matrix q = Random(46, s.heads * s.head_dim, 22);
    ForEachBackend(
        [&](Ops& ops) {
          const PagedCache straight(ops, LayoutOf(s), sequences, false);
          const PagedCache shuffled(ops, LayoutOf(s), sequences, true);
          for (const Operation operation : {kPrefill, kDecode}) {
            EXPECT_EQ(Attend(ops, operation, straight, q, Segments(straight, batch)).values,
                      Attend(ops, operation, shuffled, q, Segments(shuffled, batch)).values);
          }
        },
        s.int8);
  }
}

TEST(Attention, BatchedEqualsAlone) {
  for (const auto& [dtype, int8] : kKinds) {
    const Shape s = {9, 3, 64, 32, dtype, int8};
    const std::vector<Rows> batch = {{1, 600}, {1, 3}, {2, 257}, {33, 100}, {1, 1025}};
    const auto sequences = RandomSequences(s, batch, 31);
    const Matrix q = Random(TotalRows(batch), s.heads * s.head_dim, 32);
    ForEachBackend(
        [&](Ops& ops) {
          const PagedCache cache(ops, LayoutOf(s), sequences, false);
          const std::vector<KvSegment> segments = Segments(cache, batch);
          for (const Operation operation : {kPrefill, kDecode}) {
            const Matrix together = Attend(ops, operation, cache, q, segments);
            for (KvSegment one : segments) {
              const Matrix rows = Slice(q, one.row_begin, one.row_count);
              const Matrix expected = Slice(together, one.row_begin, one.row_count);
              one.row_begin = 0;
              EXPECT_EQ(Attend(ops, operation, cache, rows, {one}).values, expected.values);
            }
          }
        },
        s.int8);
  }
}

// One long segment in pieces, earlier pieces not seeing later tokens.
Matrix InChunks(Ops& ops, const PagedCache& cache, const Matrix& q, int64_t kv_len, int64_t chunk) {
  Matrix out(q.rows, q.cols);
  for (int64_t begin = 0; begin < q.rows; begin += chunk) {
    const int64_t count = std::min(chunk, q.rows - begin);
    const int64_t seen = kv_len - q.rows + begin + count;
    const Matrix part =
        Attend(ops, kPrefill, cache, Slice(q, begin, count), {cache.Segment(0, 0, count, seen)});
    std::copy(part.values.begin(), part.values.end(), out.values.begin() + begin * q.cols);
  }
  return out;
}

TEST(Attention, ChunkedEqualsWhole) {
  for (const auto& [dtype, int8] : kKinds) {
    for (const float scale : {1.0f, 100.0f}) {  // large scores: the base of a softmax changes often
      const Shape s = {6, 2, int8 ? 64 : 32, 16, dtype, int8};
      const auto sequences = RandomSequences(s, {{300, 450}}, 41);
      const Matrix q = Random(300, s.heads * s.head_dim, 42, scale);
      const auto reference = MakeReferenceOps();
      const PagedCache cache(*reference, LayoutOf(s), sequences, false);
      const Matrix whole = InChunks(*reference, cache, q, 450, 300);
      EXPECT_EQ(InChunks(*reference, cache, q, 450, 1).values, whole.values);
      EXPECT_EQ(InChunks(*reference, cache, q, 450, 77).values, whole.values);
      ForEachCpu(
          [&](Ops& cpu) {
            const PagedCache cpu_cache(cpu, LayoutOf(s), sequences, false);
            const Matrix cpu_whole = InChunks(cpu, cpu_cache, q, 450, 300);
            EXPECT_EQ(InChunks(cpu, cpu_cache, q, 450, 1).values, cpu_whole.values);
            EXPECT_EQ(InChunks(cpu, cpu_cache, q, 450, 60).values, cpu_whole.values);
            EXPECT_EQ(InChunks(cpu, cpu_cache, q, 450, 100).values, cpu_whole.values);
          },
          s.int8);
    }
  }
}

TEST(Attention, ResultDoesNotDependOnThreads) {
  for (const auto& [dtype, int8] : kKinds) {
    const Shape s = {9, 3, 64, 32, dtype, int8};
    const std::vector<Rows> batch = {{1, 1500}, {200, 300}};
    const auto sequences = RandomSequences(s, batch, 51);
    const Matrix q = Random(201, s.heads * s.head_dim, 52);
    std::vector<float> first;
    for (const int threads : {1, 2, 3, 5}) {
      const auto ops = MakeCpuOps(threads, int8);
      const PagedCache cache(*ops, LayoutOf(s), sequences, false);
      Matrix out = Attend(*ops, kPrefill, cache, q, Segments(cache, batch));
      const Matrix decoded = Attend(*ops, kDecode, cache, q, Segments(cache, batch));
      out.values.insert(out.values.end(), decoded.values.begin(), decoded.values.end());
      if (first.empty()) first = out.values;
      EXPECT_EQ(out.values, first);
    }
  }
}

// Scores far apart: the largest score changes from block to block and most weights vanish. Of the
// larger ones some are 2^64 times those before and others beside them are not.
TEST(Attention, LargeScores) {
  for (const auto& [dtype, int8] : kKinds) {
    for (const float scale : {8.0f, 100.0f}) {
      const Shape s = {3, 1, 64, 32, dtype, int8};
      const std::vector<Rows> batch = {{400, 600}, {1, 600}};
      auto sequences = RandomSequences(s, batch, 61);
      const Matrix q = RoundedTo(dtype, Random(401, s.heads * s.head_dim, 62, scale));
      const Matrix read = Expected(s, kPrefill, sequences, q, batch);
      const Matrix decoded = Expected(s, kDecode, sequences, q, batch);
      ForEachCpu(
          [&](Ops& cpu) {
            const PagedCache cache(cpu, LayoutOf(s), sequences, false);
            for (const Operation operation : {kPrefill, kDecode}) {
              EXPECT_LE(MaxDifference(Attend(cpu, operation, cache, q, Segments(cache, batch)),
                                      operation == kPrefill ? read : decoded),
                        Tolerance(s, operation, q, sequences));
            }
          },
          s.int8);
    }
  }
}

// Of V that are all the same every output is that: what weights err by cancels, but only if their
// sum has all of them once.
TEST(Attention, WeightsAddUpToOne) {
  for (const auto& [dtype, int8] : kKinds) {
    for (const int64_t dim : {32, 64, 96, 256}) {
      for (const float scale : {1.0f, 8.0f, 100.0f}) {
        const Shape s = {3, 1, dim, 32, dtype, int8};
        const std::vector<Rows> batch = {{70, 700}, {1, 1100}};
        auto sequences = RandomSequences(s, batch, 61);
        for (auto& sequence : sequences)
          std::fill(sequence.v.values.begin(), sequence.v.values.end(), 1.0f);
        const Matrix q = Random(71, 3 * dim, 62, scale);
        ForEachCpu(
            [&](Ops& cpu) {
              const PagedCache cache(cpu, LayoutOf(s), sequences, false);
              for (const Operation operation : {kPrefill, kDecode}) {
                const float one = AsKept(s, operation, sequences)[0].v.at(0, 0);
                const Matrix out = Attend(cpu, operation, cache, q, Segments(cache, batch));
                // oneDNN's way and integers add up weights before they are rounded.
                const double rounded = RoundsToInt8(s, operation) ? 3.0e-4
                                       : RoundsToBf16(s, operation) && !cpu::AmxReady()
                                           ? 1.0 / (1 << 9)
                                           : 0.0;
                EXPECT_LE(MaxDifference(out, Matrix(71, 3 * dim, one)),
                          (8 + 2 * std::sqrt(1100)) * kUnit + rounded);
              }
            },
            s.int8);
      }
    }
  }
}

// More packed keys than are held at once.
TEST(Attention, ManyHeadsOfManyKeys) {
  const Shape s = {8, 8, 320, 32, DType::kBF16, true};
  const std::vector<Rows> batch = {{5, 2100}, {2, 300}};
  const auto sequences = RandomSequences(s, batch, 81);
  const Matrix q = RoundedTo(s.dtype, Random(7, s.heads * s.head_dim, 82));
  const Matrix expected = Expected(s, kPrefill, sequences, q, batch);
  const auto ops = MakeCpuOps(2, s.int8);
  const PagedCache cache(*ops, LayoutOf(s), sequences, true);
  EXPECT_LE(MaxDifference(Attend(*ops, kPrefill, cache, q, Segments(cache, batch)), expected),
            Tolerance(s, kPrefill, q, sequences));
}

TEST(Attention, BadNumbersDoNoHarm) {
  for (const Shape& s : {Shape{3, 1, 16, 8, DType::kF32}, Shape{3, 1, 64, 32, DType::kBF16},
                         Shape{3, 1, 64, 32, DType::kInt8}, Shape{3, 1, 64, 32, DType::kBF16, true},
                         Shape{3, 1, 64, 32, DType::kInt8, true}}) {
    const std::vector<Rows> batch = {{20, 150}, {1, 300}, {1, 40}, {40, 80}, {1, 70}};
    auto sequences = RandomSequences(s, batch, 71);
    Matrix q = Random(63, s.heads * s.head_dim, 72);
    q.at(0, 0) = std::numeric_limits<float>::quiet_NaN();
    q.at(1, 0) = std::numeric_limits<float>::infinity();
    sequences[1].k.at(200, 3) = -std::numeric_limits<float>::infinity();
    sequences[3].k.at(60, 3) = std::numeric_limits<float>::quiet_NaN();
    sequences[4].v.at(61, 5) = std::numeric_limits<float>::infinity();
    ForEachCpu(
        [&](Ops& cpu) {
          const PagedCache cache(cpu, LayoutOf(s), sequences, false);
          for (const Operation operation : {kPrefill, kDecode}) {
            const Matrix out = Attend(cpu, operation, cache, q, Segments(cache, batch));
            EXPECT_TRUE(std::isnan(out.at(0, 0)));
            EXPECT_FALSE(std::isfinite(out.at(1, 0)));
            EXPECT_TRUE(std::isfinite(out.at(2, 0)));     // a row beside the bad one
            EXPECT_TRUE(std::isfinite(out.at(21, 0)));    // a sequence beside the bad one
            EXPECT_TRUE(std::isnan(out.at(22 + 20, 0)));  // rows that see the bad key
            EXPECT_TRUE(std::isnan(out.at(22 + 39, 0)));
            EXPECT_FALSE(std::isfinite(out.at(22 + 40, 5)));  // a bad V
            // And one that does not; a decode step's rows share a pass over V.
            EXPECT_TRUE(operation == kDecode || std::isfinite(out.at(22 + 19, 0)));
          }
        },
        s.int8);
  }
}

}  // namespace
}  // namespace skipserve::testing
