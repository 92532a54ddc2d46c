// The attention probe against the reference and a double-precision formula, scores that fade
// against their definition, and the choice of rows against a sort.
#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "tests/kernels/support.h"

namespace skipserve::testing {
namespace {

Matrix Probe(Ops& ops, const Matrix& q, const Matrix& k, const ProbeParams& p) {
  const Device dq(ops, q, 1), dk(ops, k, 2);
  const Device out = Device::Empty(ops, 1, k.rows);
  ops.ProbeScores(dq.view(), dk.view(), p, out.view().data);
  return out.Get();
}

Matrix ProbeFormula(const Matrix& q, const Matrix& k, const ProbeParams& p) {
  const int64_t n = k.rows, d = p.head_dim, group = p.heads / p.kv_heads;
  std::vector<double> total(n, 0.0);
  for (int64_t h = 0; h < p.heads; ++h) {
    std::vector<double> head(n, 0.0);
    for (int64_t w = 0; w < q.rows; ++w) {
      std::vector<double> e(n, 0.0);
      double sum = 0.0;
      for (int64_t c = 0; c <= n - q.rows + w; ++c) {
        double dot = 0.0;
        for (int64_t j = 0; j < d; ++j)
          dot += double{q.at(w, h * d + j)} * k.at(c, h / group * d + j);
        sum += e[c] = std::exp(dot / std::sqrt(d));
      }
      for (int64_t c = 0; c < n; ++c) {
        const double x = e[c] / sum;
        head[c] = p.window_reduce == Reduce::kMax ? std::max(head[c], x) : head[c] + x / q.rows;
      }
    }
    for (int64_t c = 0; c < n; ++c) {
      total[c] = p.head_reduce == Reduce::kMax ? std::max(total[c], head[c])
                                               : total[c] + head[c] / p.heads;
    }
  }
  Matrix out(1, n);
  for (int64_t c = 0; c < n; ++c) {
    double best = 0.0;
    for (int64_t o = c - p.pool / 2; o <= c + p.pool / 2; ++o) {
      if (o >= 0 && o < n) best = std::max(best, total[o]);
    }
    out.at(0, c) = static_cast<float>(best);
  }
  return out;
}

// Relative error of a probability: twice a score's (d + 4 roundings of |q| |k| / sqrt(d)), the
// sums, the exponential.
double Relative(const Matrix& q, const Matrix& k, const ProbeParams& p) {
  const double score = (p.head_dim + 4) * kUnit * MaxRowNorm(q, p.head_dim) *
                       MaxRowNorm(k, p.head_dim) / std::sqrt(p.head_dim);
  const double sums = 2 * std::sqrt(k.rows) + q.rows + p.heads;
  return 2 * (2 * score + (8 + sums) * kUnit);
}

TEST(ProbeScores, MatchesFormula) {
  struct Case {
    int64_t window, candidates;
    int32_t heads, kv_heads, head_dim, pool;
  };
  for (const Case& c : {Case{1, 1, 1, 1, 8, 1}, Case{3, 3, 2, 2, 8, 5}, Case{1, 100, 4, 1, 16, 1},
                        Case{16, 1003, 9, 3, 64, 15}, Case{64, 530, 3, 3, 40, 31},
                        Case{7, 480, 6, 2, 32, 3}, Case{9, 481, 8, 2, 128, 7}}) {
    const Matrix q = Random(c.window, c.heads * c.head_dim, 1),
                 k = Random(c.candidates, c.kv_heads * c.head_dim, 2);
    for (const Reduce window : {Reduce::kMax, Reduce::kMean}) {
      for (const Reduce head : {Reduce::kMax, Reduce::kMean}) {
        const ProbeParams p = {c.heads, c.kv_heads, c.head_dim, window, head, c.pool};
        const Matrix expected = ProbeFormula(q, k, p);
        const double relative = Relative(q, k, p);
        const auto check = [&](Ops& ops) {
          const Matrix got = Probe(ops, q, k, p);
          for (int64_t i = 0; i < c.candidates; ++i) {
            const float want = expected.values[i];
            ASSERT_NEAR(got.values[i], want, relative * want + 1e-30)
                << "candidate " << i << " of " << c.candidates;
          }
        };
        check(*MakeReferenceOps());
        ForEachCpu(check);
      }
    }
  }
}

TEST(ProbeScores, ResultDoesNotDependOnThreads) {
  const ProbeParams p = {9, 3, 64, Reduce::kMax, Reduce::kMax, 15};
  const Matrix q = Random(16, 576, 3), k = Random(2000, 192, 4);
  const std::vector<float> one = Probe(*MakeCpuOps(1), q, k, p).values;
  EXPECT_EQ(Probe(*MakeCpuOps(2), q, k, p).values, one);
  EXPECT_EQ(Probe(*MakeCpuOps(4), q, k, p).values, one);
}

TEST(ProbeScores, BadNumbersDoNoHarm) {
  const ProbeParams p = {2, 1, 16, Reduce::kMax, Reduce::kMean, 3};
  Matrix q = Random(4, 32, 5), k = Random(700, 16, 6);
  q.at(1, 1) = std::numeric_limits<float>::quiet_NaN();
  k.at(600, 2) = std::numeric_limits<float>::infinity();
  ForEachCpu([&](Ops& cpu) { EXPECT_EQ(Probe(cpu, q, k, p).cols, 700); });
}

TEST(MaxScaled, TheLargerOfNewAndFadedOld) {
  const auto check = [](Ops& ops) {
    const auto run = [&](const Matrix& a, const Matrix& b, float scale) {
      const Device da(ops, a), db(ops, b), out = Device::Empty(ops, 1, a.cols);
      ops.MaxScaled(da.view().data, db.view().data, scale, a.cols, out.view().data);
      return out.Get().values;
    };
    const float inf = std::numeric_limits<float>::infinity();
    Matrix a(1, 6), b(1, 6);
    a.values = {1, 1, -1, 0.25f, -inf, inf};
    b.values = {2, 4, -4, -1, 3, -inf};
    EXPECT_EQ(run(a, b, 0.5f), std::vector<float>({1, 2, -1, 0.25f, 1.5f, inf}));
    for (const int64_t n : {0, 1, 2, 7, 31, 64, 1001}) {
      const Matrix x = Random(1, n, 1), y = Random(1, n, 2);
      for (const float scale : {0.0f, 0.7f, 1.0f}) {
        std::vector<float> expected(n);
        for (int64_t i = 0; i < n; ++i) {
          const float old = y.values[i] * scale;
          expected[i] = x.values[i] < old ? old : x.values[i];
        }
        EXPECT_EQ(run(x, y, scale), expected) << n << " times " << scale;
        for (const bool into_old : {false, true}) {
          const Device dx(ops, x), dy(ops, y);
          float* const out = (into_old ? dy : dx).view().data;
          ops.MaxScaled(dx.view().data, dy.view().data, scale, n, out);
          EXPECT_EQ((into_old ? dy : dx).Get().values, expected) << n << " in place";
          EXPECT_EQ((into_old ? dx : dy).Get().values, (into_old ? x : y).values);
        }
      }
    }
  };
  check(*MakeReferenceOps());
  ForEachCpu(check);
}

// More than it was told of is left alone.
TEST(MaxScaled, StaysWithinItsRange) {
  const auto check = [](Ops& ops) {
    const Matrix a = Random(1, 40, 3), b = Random(1, 40, 4);
    const Device da(ops, a), db(ops, b);
    const Matrix before = Random(1, 40, 5);
    const Device out(ops, before);
    ops.MaxScaled(da.view().data, db.view().data, 0.5f, 17, out.view().data);
    const std::vector<float> got = out.Get().values;
    for (int64_t i = 17; i < 40; ++i) EXPECT_EQ(got[i], before.values[i]) << i;
  };
  check(*MakeReferenceOps());
  ForEachCpu(check);
}

std::vector<int32_t> Select(Ops& ops, const std::vector<float>& scores, int64_t count, int64_t head,
                            int64_t tail) {
  Buffer in = *ops.Allocate(scores.size() * sizeof(float));
  Buffer out = *ops.Allocate(count * sizeof(int32_t));
  ops.Upload(scores.data(), in.data(), scores.size() * sizeof(float));
  ops.SelectTop(in.f32(), scores.size(), count, head, tail, out.i32());
  std::vector<int32_t> rows(count);
  ops.Download(out.data(), rows.data(), count * sizeof(int32_t));
  return rows;
}

// The contract, one choice at a time.
std::vector<int32_t> SelectByDefinition(const std::vector<float>& scores, int64_t count,
                                        int64_t head, int64_t tail) {
  const int64_t n = scores.size();
  std::set<int32_t> chosen = {static_cast<int32_t>(n - 1)};
  for (int64_t r = 0; r < n && static_cast<int64_t>(chosen.size()) < count; ++r) {
    if (r < head || r >= n - tail) chosen.insert(r);
  }
  while (static_cast<int64_t>(chosen.size()) < count) {
    int64_t best = -1;
    for (int64_t r = 0; r < n; ++r) {
      if (chosen.count(r)) continue;
      const bool better = best < 0 || scores[r] > scores[best] ||
                          (std::isnan(scores[best]) && !std::isnan(scores[r]));
      if (better) best = r;
    }
    chosen.insert(best);
  }
  return {chosen.begin(), chosen.end()};
}

TEST(SelectTop, SmallCasesByHand) {
  const float nan = std::numeric_limits<float>::quiet_NaN(),
              inf = std::numeric_limits<float>::infinity();
  const auto check = [&](Ops& ops) {
    using Rows = std::vector<int32_t>;
    EXPECT_EQ(Select(ops, {5.0f}, 1, 0, 0), Rows({0}));
    EXPECT_EQ(Select(ops, {5, 1, 2, 3}, 1, 2, 2), Rows({3}));  // the last row before all others
    EXPECT_EQ(Select(ops, {5, 1, 2, 3}, 2, 0, 0), Rows({0, 3}));
    EXPECT_EQ(Select(ops, {1, 1, 1, 1, 1}, 3, 0, 0), Rows({0, 1, 4}));  // ties go to the lower row
    EXPECT_EQ(Select(ops, {9, 9, 9, 1, 9, 9}, 3, 1, 4),
              Rows({0, 2, 5}));  // too many to keep: lower rows
    EXPECT_EQ(Select(ops, {nan, -inf, nan, 0}, 2, 0, 1), Rows({1, 3}));  // NaN below minus infinity
    EXPECT_EQ(Select(ops, {-0.0f, 0.0f, -1, 0}, 2, 0, 1), Rows({0, 3}));  // the zeros are equal
    EXPECT_EQ(Select(ops, {1, 2, 3}, 3, 9, 9), Rows({0, 1, 2}));
    EXPECT_EQ(Select(ops, {1, inf, -inf, 2, 0}, 3, 0, 1), Rows({1, 3, 4}));
  };
  check(*MakeReferenceOps());
  ForEachCpu(check);
}

TEST(SelectTop, MatchesDefinitionOnRandomScores) {
  const auto check = [](Ops& ops) {
    std::mt19937 bits(7);
    for (int round = 0; round < 500; ++round) {
      const int64_t n = 1 + bits() % (round % 5 == 0 ? 200 : 12);
      const int levels = 1 + bits() % 6;  // few: many ties
      std::vector<float> scores(n);
      for (float& s : scores) {
        s = static_cast<float>(static_cast<int>(bits() % levels) - 2);
        if (round % 2) s += static_cast<float>(bits() % 1000) * 1e-3f;
        if (bits() % 8 == 0) s = std::numeric_limits<float>::quiet_NaN();
        if (bits() % 16 == 0) s = bits() % 2 ? -std::numeric_limits<float>::infinity() : -0.0f;
      }
      const int64_t share = round % 3 ? 4 : 1;
      const int64_t count = 1 + bits() % n, head = bits() % (n + 2) / share,
                    tail = bits() % (n + 2) / share;
      ASSERT_EQ(Select(ops, scores, count, head, tail),
                SelectByDefinition(scores, count, head, tail))
          << "n " << n << " count " << count << " head " << head << " tail " << tail;
    }
  };
  check(*MakeReferenceOps());
  ForEachCpu(check);
}

}  // namespace
}  // namespace skipserve::testing
