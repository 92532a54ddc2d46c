// What KvWrite keeps, in every type, and the codes of 8 bits.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/bf16.h"
#include "kernels/kv_codes.h"
#include "kernels/kv_slot.h"
#include "tests/kernels/support.h"

namespace skipserve::testing {
namespace {

// Three blocks of memory, `fill` before, after rows 1 .. 4 became tokens 2 .. 5 of a sequence: two
// slots of block 2, two of block 0.
std::vector<unsigned char> AfterWrite(Ops& ops, const KvLayout& layout,
                                      const std::vector<unsigned char>& fill, const Matrix& k,
                                      const Matrix& v) {
  Buffer memory = *ops.Allocate(fill.size());
  ops.Upload(fill.data(), memory.data(), fill.size());
  const DeviceIndex blocks(ops, {2, 0});
  const Device dk(ops, k, 1), dv(ops, v, 2);
  ops.KvWrite(dk.view(), dv.view(), {KvSegment{1, 4, 6, blocks.view()}},
              KvPool{memory.data(), layout});
  std::vector<unsigned char> got(fill.size());
  ops.Download(memory.data(), got.data(), got.size());
  return got;
}

TEST(KvWrite, StoresTheLastRowsAndNothingElse) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const KvLayout layout = {dtype, 4, 2, 8};
    const Matrix k = Random(5, 16, 81), v = Random(5, 16, 82);
    ForEachBackend([&](Ops& ops) {
      const std::vector<unsigned char> fill(3 * layout.block_bytes(), 0xFF);
      const std::vector<unsigned char> got = AfterWrite(ops, layout, fill, k, v);
      for (int64_t block = 0; block < 3; ++block) {
        for (int64_t i = 0; i < 2 * 2 * 4 * 8; ++i) {
          const int64_t j = i % 8, slot = i / 8 % 4, head = i / 32 % 2, is_v = i / 64;
          const int64_t token = block == 2 ? slot : block == 0 ? slot + 4 : -1;
          const int64_t at = block * 128 + i;
          const bool written = token >= 2 && token <= 5;
          const float want = written ? (is_v ? v : k).at(token - 1, head * 8 + j) : 0.0f;
          if (dtype == DType::kF32) {
            const float x = reinterpret_cast<const float*>(got.data())[at];
            ASSERT_TRUE(written ? x == want : std::isnan(x)) << block << " " << i;
          } else {
            const uint16_t x = reinterpret_cast<const uint16_t*>(got.data())[at];
            ASSERT_EQ(x, written ? F32ToBf16(want) : 0xFFFF) << block << " " << i;
          }
        }
      }
    });
  }
}

// The same of 8 bits, whose last group is shorter than the others, some of zeros and some bad.
TEST(KvWrite, StoresCodesAndScales) {
  const KvLayout layout = {DType::kInt8, 4, 2, 40};
  Matrix k = Random(5, 80, 81), v = Random(5, 80, 82, 100.0f);
  std::fill_n(&k.at(2, 0), 40, 0.0f);
  k.at(3, 33) = std::numeric_limits<float>::infinity();
  v.at(4, 70) = std::numeric_limits<float>::quiet_NaN();
  v.at(1, 0) = 1e-38f, v.at(1, 40) = 3e38f;
  ForEachBackend([&](Ops& ops) {
    const std::vector<unsigned char> fill(3 * layout.block_bytes(), 0xA5);
    std::vector<unsigned char> want = fill;
    const int32_t block_of[] = {2, 0};
    const KvPool expected = {want.data(), layout};
    const KvSegment same = {1, 4, 6, {block_of, 2}};
    for (int64_t token = 2; token < 6; ++token) {
      for (int64_t head = 0; head < 2; ++head) {
        for (const bool is_v : {false, true}) {
          ToKvCodes((is_v ? v : k).row(token - 1) + head * 40, 40,
                    reinterpret_cast<int8_t*>(KvSlot(expected, same, token, head, is_v)),
                    KvScales(expected, same, token, head, is_v));
        }
      }
    }
    EXPECT_EQ(AfterWrite(ops, layout, fill, k, v), want);
  });
}

TEST(KvCodes, AreWithinHalfAScale) {
  const Matrix x = Random(100, 72, 83);
  for (int64_t row = 0; row < x.rows; ++row) {
    int8_t codes[72];
    uint16_t scales[3];
    ToKvCodes(x.row(row), 72, codes, scales);
    int most[3] = {};
    for (int64_t i = 0; i < 72; ++i) {
      const float scale = Bf16ToF32(scales[i / 32]);
      EXPECT_LE(std::abs(x.at(row, i) - codes[i] * scale), 0.5001f * scale);
      most[i / 32] = std::max(most[i / 32], std::abs(int{codes[i]}));
    }
    for (const int m : most) EXPECT_GE(m, 126);  // a scale is rounded up by 2^-7 at most
  }
  float small[64] = {1e-35f};
  small[32] = 127.0f, small[33] = 2.5f, small[34] = 3.5f, small[35] = -2.5f;  // ties go to even
  int8_t few[64];
  uint16_t scales_of_small[2];
  ToKvCodes(small, 64, few, scales_of_small);
  EXPECT_EQ(Bf16ToF32(scales_of_small[0]), 0.0f);
  EXPECT_EQ(few[0], 0);
  EXPECT_EQ(Bf16ToF32(scales_of_small[1]), 1.0f);
  EXPECT_EQ(std::vector<int8_t>(few + 32, few + 36), (std::vector<int8_t>{127, 2, 4, -2}));
  float bad[33] = {};
  bad[32] = -std::numeric_limits<float>::infinity();
  int8_t codes[33];
  uint16_t scales[2];
  ToKvCodes(bad, 33, codes, scales);
  EXPECT_EQ(Bf16ToF32(scales[0]), 0.0f);
  EXPECT_TRUE(std::isnan(codes[32] * Bf16ToF32(scales[1])));
}

}  // namespace
}  // namespace skipserve::testing
