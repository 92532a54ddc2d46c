// Chunks and slices against a budget, compared with sums taken token by token.
#include "scheduler/prefill_work.h"

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

TEST(TrunkFlops, IsTheSumOverItsQueries) {
  const SequenceShape shape = CostlyShape(1000);
  for (int64_t begin : {0, 1, 32, 500}) {
    for (int64_t end : {500, 501, 1000}) {
      EXPECT_EQ(TrunkFlops(shape, begin, end), TokenByToken(shape, begin, end));
    }
  }
}

// Every budget around every step of the cost, from every kind of start.
TEST(NextChunk, IsTheLargestThatFits) {
  for (int64_t prompt : {1, 7, 8, 9, 64, 69}) {
    const SequenceShape shape = CostlyShape(prompt);
    for (int64_t begin : {0, 3, 8, 40, 64}) {
      if (begin >= prompt) continue;
      for (int64_t max_tokens : {8, 11, 24, 1000}) {
        for (double flops = 0; flops < TrunkFlops(shape, 0, prompt) + 200; flops += 50) {
          int64_t expected = 0;
          for (int64_t end = begin + 1; end <= prompt && end <= begin + max_tokens; ++end) {
            const bool boundary = end % 8 == 0 || end == prompt;
            if (boundary && (expected == 0 || TokenByToken(shape, begin, end) <= flops)) {
              expected = end;
            }
          }
          const PrefillPiece chunk = NextChunk(shape, begin, 8, max_tokens, flops);
          ASSERT_EQ(chunk.end, expected) << "prompt " << prompt << " begin " << begin
                                         << " max_tokens " << max_tokens << " flops " << flops;
          ASSERT_EQ(chunk.flops, TokenByToken(shape, begin, expected));
        }
      }
    }
  }
}

TEST(NextSlice, IsTheMostLayersThatFit) {
  SequenceShape shape = SkippingShape(10, 100, 10, 1);
  shape.skip_layer_flops = {50, 30, 20, 10, 0};
  EXPECT_EQ(NextSlice(shape, 5, 0).end, 6);
  EXPECT_EQ(NextSlice(shape, 5, 79).end, 6);
  EXPECT_EQ(NextSlice(shape, 5, 80).end, 7);
  EXPECT_EQ(NextSlice(shape, 5, 80).flops, 80);
  EXPECT_EQ(NextSlice(shape, 6, 59).end, 8);
  EXPECT_EQ(NextSlice(shape, 6, 60).end, 10);
  EXPECT_EQ(NextSlice(shape, 9, 0).end, 10);
}

TEST(Shape, BlocksAreCountedByLayer) {
  // Trunk layers 9 + 3 tokens, skipping layers 5 + 3, in blocks of 4.
  EXPECT_EQ(BlocksFor(SkippingShape(4, 9, 5, 4), 4), 2 * 3 + 2 * 2);
  // The last new token is never written: 8 + 1 - 1 tokens are two blocks.
  EXPECT_EQ(BlocksFor(DenseShape(4, 8, 1), 4), 4 * 2);
  EXPECT_EQ(BlocksFor(DenseShape(4, 8, 2), 4), 4 * 3);
}

}  // namespace
}  // namespace skipserve
