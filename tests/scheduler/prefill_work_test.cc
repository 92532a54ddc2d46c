// Chunks and slices against a budget, compared with sums taken token by token.
#include "scheduler/prefill_work.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "scheduler/shape.h"
#include "shapes.h"

namespace skipserve {
namespace {

SequenceShape CostlyShape(int64_t prompt_tokens) {
  SequenceShape shape = DenseShape(4, prompt_tokens, 1);
  shape.trunk_flops_per_token = 100;
  shape.trunk_flops_per_pair = 3;
  return shape;
}

double TokenByToken(const SequenceShape& shape, int64_t begin, int64_t end) {
  double flops = 0;
  for (int64_t i = begin; i < end; ++i) {
    flops += shape.trunk_flops_per_token + shape.trunk_flops_per_pair * static_cast<double>(i + 1);
  }
  return flops;
}

double Sum(const Work& work) { return CostModel(SecondAFlop()).Seconds(work); }

TEST(TrunkWork, IsTheSumOverItsQueriesAndLayers) {
  const SequenceShape shape = CostlyShape(1000);
  for (int64_t begin : {0, 1, 32, 500}) {
    for (int64_t end : {500, 501, 1000}) {
      EXPECT_EQ(Sum(TrunkWork(shape, begin, end, 3)), 3 * TokenByToken(shape, begin, end));
    }
  }
}

// Every time around every step of the cost, from every kind of start.
TEST(NextChunk, IsTheLongestOfWhichALayerFitsThroughTheMostLayersThatDo) {
  const CostModel cost(SecondAFlop());
  for (int64_t prompt : {1, 7, 8, 9, 64, 69}) {
    const SequenceShape shape = CostlyShape(prompt);
    for (int64_t begin : {0, 3, 8, 40, 64}) {
      if (begin >= prompt) continue;
      for (int64_t max_tokens : {8, 11, 24, 1000}) {
        for (double time = 0; time < 4 * TokenByToken(shape, 0, prompt) + 200; time += 50) {
          int64_t expected = 0;
          for (int64_t end = begin + 1; end <= prompt && end <= begin + max_tokens; ++end) {
            const bool boundary = end % 8 == 0 || end == prompt;
            if (boundary && (expected == 0 || TokenByToken(shape, begin, end) <= time)) {
              expected = end;
            }
          }
          const double layer = TokenByToken(shape, begin, expected);
          int32_t layers = 1;
          while (layers < 4 && (layers + 1) * layer <= time) ++layers;
          const TrunkPiece chunk = NextChunk(shape, {begin}, 8, max_tokens, time, cost);
          ASSERT_EQ(chunk.token_end, expected) << "prompt " << prompt << " begin " << begin
                                               << " max_tokens " << max_tokens << " time " << time;
          ASSERT_EQ(chunk.layer_end, layers);
          ASSERT_EQ(chunk.seconds, layers * layer);
        }
      }
    }
  }
}

TEST(NextChunk, GoesOnWithTheChunkThatIsOnItsWay) {
  const CostModel cost(SecondAFlop());
  const SequenceShape shape = CostlyShape(1000);
  const double layer = TokenByToken(shape, 16, 32);
  for (double time : {0.0, layer, 1.9 * layer, 2 * layer, 100 * layer}) {
    const TrunkPiece chunk = NextChunk(shape, {16, 32, 1}, 8, 512, time, cost);
    const int32_t layers = std::clamp(static_cast<int32_t>(time / layer), 1, 3);
    EXPECT_EQ(chunk.token_end, 32);
    EXPECT_EQ(chunk.layer_end, 1 + layers);
    EXPECT_EQ(chunk.seconds, layers * layer);
  }
}

TEST(NextChunk, OfATrunkWithoutLayersIsFree) {
  SequenceShape shape = CostlyShape(100);
  shape.trunk_layers = 0;
  const TrunkPiece chunk = NextChunk(shape, {0}, 8, 64, 0, CostModel(SecondAFlop()));
  EXPECT_EQ(chunk.layer_end, 0);
  EXPECT_EQ(chunk.seconds, 0);
}

SequenceShape RowShape(const std::vector<int64_t>& rows) {
  SequenceShape shape = DenseShape(static_cast<int32_t>(rows.size()) + 1, 100, 1);
  shape.trunk_layers = 1;
  for (size_t i = 0; i < rows.size(); ++i) {
    shape.kv_prompt_tokens[i + 1] = rows[i];
    shape.skip_layers.push_back({rows[i], 25, 15, 30, 7, 2, 5});
  }
  return shape;
}

// All that may be an end of a slice, in order, with what lies before it, row by row.
std::vector<std::pair<SkipPoint, double>> Ends(const SequenceShape& shape, int64_t step) {
  std::vector<std::pair<SkipPoint, double>> ends = {{{1, 0}, 0}};
  double sum = 0;
  for (int32_t l = 1; l < shape.layers(); ++l) {
    const SkipLayer& layer = shape.skip_layers[l - 1];
    sum += layer.key_flops + layer.probe_flops;
    for (int64_t row = 0; row < 2 * layer.rows; ++row) {
      if (row == layer.rows) sum += layer.ffn_probe_flops;
      const int64_t in_half = row < layer.rows ? row : row - layer.rows;
      sum += row < layer.rows ? 7 + 2 * static_cast<double>(row + 1) : 5;
      const int64_t done = in_half + 1;
      if (row + 1 == 2 * layer.rows) break;
      if (done % step == 0 || done == layer.rows) ends.push_back({{l, row + 1}, sum});
    }
    ends.push_back({{l + 1, 0}, sum});
  }
  return ends;
}

TEST(NextSlice, IsTheLongestThatFits) {
  const CostModel cost(SecondAFlop());
  for (const std::vector<int64_t>& rows :
       {std::vector<int64_t>{13, 5, 1}, {4, 0, 8}, {1}, {0}, {16, 16}}) {
    const SequenceShape shape = RowShape(rows);
    for (const int64_t step : {1, 4, 1000}) {
      const auto ends = Ends(shape, step);
      for (size_t begin = 0; begin + 1 < ends.size(); ++begin) {
        for (double time = 0; time < ends.back().second + 100; time += 13) {
          size_t expected = begin + 1;
          while (expected + 1 < ends.size() &&
                 ends[expected + 1].second - ends[begin].second <= time) {
            ++expected;
          }
          const SkipPiece slice = NextSlice(shape, ends[begin].first, step, time, cost);
          ASSERT_EQ(slice.end, ends[expected].first)
              << "layer " << slice.end.layer << " row " << slice.end.row << ", not "
              << ends[expected].first.layer << " " << ends[expected].first.row << " at " << time;
          ASSERT_EQ(slice.seconds, ends[expected].second - ends[begin].second);
          ASSERT_EQ(Sum(SkipWork(shape, ends[begin].first, slice.end)), slice.seconds);
        }
      }
    }
  }
}

TEST(Shape, BlocksAreCountedByLayer) {
  // Trunk layers 9 + 3 tokens, skipping layers 5 + 3, in blocks of 4.
  EXPECT_EQ(BlocksFor(SkippingShape(4, 9, 5, 4), 4, 4), 2 * 3 + 2 * 2);
  // The last new token is never written: 8 + 1 - 1 tokens are two blocks.
  EXPECT_EQ(BlocksFor(DenseShape(4, 8, 1), 1, 4), 4 * 2);
  EXPECT_EQ(BlocksFor(DenseShape(4, 8, 2), 2, 4), 4 * 3);
}

}  // namespace
}  // namespace skipserve
