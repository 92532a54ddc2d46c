// Floats of 16 bits: what they round to.
#include <bit>
#include <cmath>

#include "gtest/gtest.h"
#include "kernels/bf16.h"
#include "kernels/half.h"
#include "tests/kernels/support.h"

namespace skipserve::testing {
namespace {

TEST(Bf16, RoundsToNearestEven) {
  const auto bits = [](uint32_t x) { return F32ToBf16(std::bit_cast<float>(x)); };
  EXPECT_EQ(bits(0x3F800000), 0x3F80);
  EXPECT_EQ(bits(0x3F808000), 0x3F80);  // halfway: to even
  EXPECT_EQ(bits(0x3F808001), 0x3F81);
  EXPECT_EQ(bits(0x3F818000), 0x3F82);  // halfway: to even
  EXPECT_EQ(bits(0x7F7FFFFF), 0x7F80);  // beyond the largest: infinity
  EXPECT_EQ(bits(0xFF800000), 0xFF80);
  EXPECT_EQ(bits(0x7F800001) & 0x7FC0, 0x7FC0);  // NaN stays NaN
}

// The vector code rounds as the scalar code, whatever the bits.
TEST(Bf16, WeightsRoundAsScalar) {
  Matrix table(3, 4099);
  uint32_t x = 1;
  for (float& v : table.values) v = std::bit_cast<float>(x = x * 1664525u + 1013904223u);
  table.values[0] = std::bit_cast<float>(0x7F800001u);
  table.values[1] = std::bit_cast<float>(0xFFFFFFFFu);
  ForEachCpu([&](Ops& cpu) {
    const Device out = Device::Empty(cpu, 3, 4099);
    cpu.Embed(*Load(cpu, table, WeightType::kBF16), DeviceIndex(cpu, {0, 1, 2}).view(), out.view());
    const Matrix got = out.Get();
    for (size_t i = 0; i < got.values.size(); ++i) {
      const float want = Bf16ToF32(F32ToBf16(table.values[i]));
      ASSERT_TRUE(got.values[i] == want || (std::isnan(want) && std::isnan(got.values[i]))) << i;
    }
  });
}

TEST(Half, RoundsToNearestEven) {
  for (int bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    if (std::isnan(HalfToF32(half))) {
      EXPECT_TRUE(std::isnan(HalfToF32(F32ToHalf(HalfToF32(half))))) << bits;
    } else {
      EXPECT_EQ(F32ToHalf(HalfToF32(half)), half);
    }
    const float next = HalfToF32(half + 1);
    if (!std::isfinite(next) || (half & 0x7FFF) == 0x7FFF) continue;
    const float middle = HalfToF32(half) + (next - HalfToF32(half)) / 2;  // exact
    EXPECT_EQ(F32ToHalf(middle), half + half % 2) << bits;
    EXPECT_EQ(F32ToHalf(std::nextafter(middle, HalfToF32(half))), half) << bits;
    EXPECT_EQ(F32ToHalf(std::nextafter(middle, next)), half + 1) << bits;
  }
  EXPECT_EQ(F32ToHalf(65519.0f), 0x7BFF);
  EXPECT_EQ(F32ToHalf(65520.0f), 0x7C00);
  EXPECT_EQ(F32ToHalf(-1e30f), 0xFC00);
}

}  // namespace
}  // namespace skipserve::testing
