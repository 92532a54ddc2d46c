// Buffers: what is handed out, handed out again, and refused.
#include <utility>

#include "gtest/gtest.h"
#include "tests/kernels/support.h"

namespace skipserve::testing {
namespace {

// What a buffer held is gone, but never another's who still has it.
TEST(Memory, LargeBuffersComeAgainAndAreNobodyElses) {
  const auto ops = MakeCpuOps(1);
  constexpr size_t kBytes = size_t{3} << 20;
  auto first = *ops->Allocate(kBytes);
  void* const at = first.data();
  auto second = *ops->Allocate(kBytes);
  EXPECT_NE(second.data(), at);
  first = Buffer();
  auto third = *ops->Allocate(kBytes - 64);
  EXPECT_EQ(third.data(), at);
  EXPECT_EQ(third.bytes(), kBytes - 64);
  auto fourth = *ops->Allocate(kBytes);
  EXPECT_NE(fourth.data(), at);
  EXPECT_NE(fourth.data(), second.data());
  third = Buffer();
  const auto small = *ops->Allocate(kBytes / 3);  // too small for what is kept
  EXPECT_NE(small.data(), at);
}

TEST(Memory, AlignedAndRefusedWhenTooLarge) {
  for (const auto& ops : {MakeReferenceOps(), MakeCpuOps(1)}) {
    for (const size_t bytes : {0, 1, 1000}) {
      const auto buffer = ops->Allocate(bytes);
      ASSERT_TRUE(buffer.ok());
      EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % 64, 0u);
    }
    EXPECT_EQ(ops->Allocate(size_t{1} << 60).status().code(), absl::StatusCode::kResourceExhausted);
    const WeightSource huge = {int64_t{1} << 40, int64_t{1} << 16,
                               [](int64_t, int64_t, float*) { FAIL(); }};
    EXPECT_EQ(ops->LoadWeight(huge, WeightType::kF32, WeightUse::kAll).status().code(),
              absl::StatusCode::kResourceExhausted);
  }
}

}  // namespace
}  // namespace skipserve::testing
