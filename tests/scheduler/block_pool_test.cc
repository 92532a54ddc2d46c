// The pool hands out each block once, and all or nothing.
#include "scheduler/block_pool.h"

#include <set>

#include "gmock/gmock.h"

namespace skipserve {
namespace {

TEST(BlockPool, TakesEveryBlockOnce) {
  BlockPool pool(5);
  BlockTable a;
  BlockTable b;
  ASSERT_TRUE(pool.Take(2, a));
  ASSERT_TRUE(pool.Take(3, b));
  std::set<BlockId> blocks(a.blocks.begin(), a.blocks.end());
  blocks.insert(b.blocks.begin(), b.blocks.end());
  EXPECT_THAT(blocks, testing::ElementsAre(0, 1, 2, 3, 4));
  EXPECT_EQ(pool.used(), 5);
}

TEST(BlockPool, TakesNothingWhereTooFewAreFree) {
  BlockPool pool(3);
  BlockTable a;
  EXPECT_FALSE(pool.Take(4, a));
  EXPECT_TRUE(a.blocks.empty());
  EXPECT_EQ(pool.used(), 0);
}

TEST(BlockPool, AppendsToATableAndTakesItBack) {
  BlockPool pool(4);
  BlockTable a;
  ASSERT_TRUE(pool.Take(1, a));
  const BlockId first = a.blocks[0];
  ASSERT_TRUE(pool.Take(2, a));
  EXPECT_EQ(a.blocks.size(), 3u);
  EXPECT_EQ(a.blocks[0], first);
  pool.Give(a);
  EXPECT_TRUE(a.blocks.empty());
  EXPECT_EQ(pool.used(), 0);
  EXPECT_EQ(pool.total(), 4);
}

TEST(BlockPool, OfNothingGivesNothing) {
  BlockPool pool(0);
  BlockTable a;
  EXPECT_FALSE(pool.Take(1, a));
  EXPECT_TRUE(pool.Take(0, a));
}

}  // namespace
}  // namespace skipserve
