// The pool hands out each block once, and all or nothing.
#include "scheduler/block_pool.h"

#include <set>

#include "gmock/gmock.h"

namespace skipserve {
namespace {

TEST(BlockPool, TakesEveryBlockOnce) {
  BlockPool pool(5);
  std::vector<BlockId> a;
  std::vector<BlockId> b;
  ASSERT_TRUE(pool.Take(2, a));
  ASSERT_TRUE(pool.Take(3, b));
  std::set<BlockId> blocks(a.begin(), a.end());
  blocks.insert(b.begin(), b.end());
  EXPECT_THAT(blocks, testing::ElementsAre(0, 1, 2, 3, 4));
  EXPECT_EQ(pool.used(), 5);
}

TEST(BlockPool, TakesNothingWhereTooFewAreFree) {
  BlockPool pool(3);
  std::vector<BlockId> a;
  EXPECT_FALSE(pool.Take(4, a));
  EXPECT_TRUE(a.empty());
  EXPECT_EQ(pool.used(), 0);
}

TEST(BlockPool, AppendsToATableAndTakesItBack) {
  BlockPool pool(4);
  std::vector<BlockId> a;
  ASSERT_TRUE(pool.Take(1, a));
  const BlockId first = a[0];
  ASSERT_TRUE(pool.Take(2, a));
  EXPECT_EQ(a.size(), 3u);
  EXPECT_EQ(a[0], first);
  pool.Give(a);
  EXPECT_TRUE(a.empty());
  EXPECT_EQ(pool.used(), 0);
  EXPECT_EQ(pool.total(), 4);
}

TEST(BlockPool, OfNothingGivesNothing) {
  BlockPool pool(0);
  std::vector<BlockId> a;
  EXPECT_FALSE(pool.Take(1, a));
  EXPECT_TRUE(pool.Take(0, a));
}

}  // namespace
}  // namespace skipserve
