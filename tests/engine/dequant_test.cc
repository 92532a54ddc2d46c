// Block formats against floats that the gguf package computed
// (tests/golden/make_dequant_golden.py).
#include "engine/dequant.h"

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "engine/model_file_tensor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/model_test_files.h"

namespace skipserve {
namespace {

struct Case {
  StoredType type;
  const char* name;
};

constexpr Case kCases[] = {
    {StoredType::kF16, "F16"},   {StoredType::kBF16, "BF16"}, {StoredType::kQ4_0, "Q4_0"},
    {StoredType::kQ4_1, "Q4_1"}, {StoredType::kQ5_0, "Q5_0"}, {StoredType::kQ5_1, "Q5_1"},
    {StoredType::kQ8_0, "Q8_0"}, {StoredType::kQ4_K, "Q4_K"}, {StoredType::kQ5_K, "Q5_K"},
    {StoredType::kQ6_K, "Q6_K"},
};

std::string Golden(const std::string& name) {
  return ReadWholeFile(std::string(SKIPSERVE_SOURCE_DIR) + "/tests/golden/dequant/" + name);
}

TEST(Dequant, EveryTypeEqualsTheGoldenFloatsBitForBit) {
  for (const Case& c : kCases) {
    const std::string blocks = Golden(std::string(c.name) + ".blocks");
    const std::string expected = Golden(std::string(c.name) + ".f32");
    std::vector<float> got(expected.size() / 4, -1.0f);
    Dequantize(c.type, blocks.data(), static_cast<int64_t>(got.size()), got.data());
    std::vector<float> want(got.size());
    std::memcpy(want.data(), expected.data(), expected.size());
    EXPECT_EQ(std::memcmp(got.data(), want.data(), expected.size()), 0)
        << c.name << " " << ::testing::PrintToString(got);
  }
}

TEST(Dequant, BytesNeedNoAlignmentAndBlocksDoNotDependOnEachOther) {
  for (const Case& c : kCases) {
    const StoredTypeInfo* info = FindStoredType(static_cast<uint32_t>(c.type));
    ASSERT_NE(info, nullptr);
    EXPECT_STREQ(info->name, c.name);
    std::string shifted = Golden(std::string(c.name) + ".blocks");
    shifted.insert(shifted.begin(), 'x');
    const std::string expected = Golden(std::string(c.name) + ".f32");
    const int64_t blocks = static_cast<int64_t>(expected.size()) / 4 / info->block_elements;
    std::vector<float> block(static_cast<size_t>(info->block_elements));
    for (int64_t i = 0; i < blocks; ++i) {
      Dequantize(c.type, shifted.data() + 1 + i * info->block_bytes, info->block_elements,
                 block.data());
      EXPECT_EQ(std::memcmp(block.data(), expected.data() + i * info->block_elements * 4,
                            block.size() * 4),
                0)
          << c.name << " block " << i;
    }
  }
}

TEST(Dequant, EveryHalf) {
  std::vector<uint16_t> halves(65536);
  for (size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<uint16_t>(i);
  std::vector<float> got(halves.size());
  Dequantize(StoredType::kF16, reinterpret_cast<const char*>(halves.data()), 65536, got.data());
  for (int bits = 0; bits < 65536; ++bits) {
    const int exponent = (bits >> 10) & 31, mantissa = bits & 1023;
    const float sign = (bits & 0x8000) != 0 ? -1.0f : 1.0f;
    if (exponent == 31 && mantissa != 0) {
      EXPECT_TRUE(std::isnan(got[bits])) << bits;
    } else if (exponent == 31) {
      EXPECT_EQ(got[bits], sign * INFINITY) << bits;
    } else {
      const float magnitude = exponent == 0
                                  ? std::ldexp(static_cast<float>(mantissa), -24)
                                  : std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
      EXPECT_EQ(got[bits], sign * magnitude) << bits;
      EXPECT_EQ(std::signbit(got[bits]), sign < 0) << bits;
    }
  }
}

TEST(Dequant, FourBitsAreTheirFloats) {
  for (const Case& c : kCases) {
    const bool four_bits = absl::StartsWith(c.name, "Q4");
    EXPECT_EQ(IsFourBits(c.type), four_bits) << c.name;
    if (!four_bits) continue;
    const std::string blocks = Golden(std::string(c.name) + ".blocks");
    const auto count = static_cast<int64_t>(Golden(std::string(c.name) + ".f32").size() / 4);
    std::vector<float> want(count), scales(count / 32), minima(count / 32), got(count);
    std::vector<uint8_t> codes(count);
    Dequantize(c.type, blocks.data(), count, want.data());
    UnpackFourBits(c.type, blocks.data(), count, codes.data(), scales.data(), minima.data());
    for (int64_t i = 0; i < count; ++i) got[i] = scales[i / 32] * codes[i] + minima[i / 32];
    EXPECT_EQ(got, want) << c.name;
  }
}

// Rows of Q and K lie in another order in the file.
TEST(Dequant, RowsOfASourceInFourBitsAreItsRows) {
  std::string data(16 * 2 * 20, '\0');
  uint32_t x = 1;
  for (char& byte : data) byte = static_cast<char>((x = x * 1664525u + 1013904223u) >> 24);
  for (size_t block = 0; block < data.size(); block += 20) {
    data[block + 1] = data[block + 3] = 0x2C;  // no NaN
  }
  const StoredTensor tensor = {StoredType::kQ4_1, {16, 64}, data};
  for (const int64_t head_dim : {0, 8}) {
    const auto source = MakeWeightSource("w", tensor, head_dim);
    ASSERT_TRUE(source.ok());
    std::vector<float> want(11 * 64), scales(11 * 2), minima(11 * 2), got(11 * 64);
    std::vector<uint8_t> codes(11 * 64);
    source->read(3, 11, want.data());
    source->read_four_bits(3, 11, {codes.data(), scales.data(), minima.data()});
    for (size_t i = 0; i < got.size(); ++i) got[i] = scales[i / 32] * codes[i] + minima[i / 32];
    EXPECT_EQ(got, want) << head_dim;
  }
}

TEST(Dequant, UnsupportedTypesHaveNames) {
  EXPECT_EQ(FindStoredType(10), nullptr);
  EXPECT_EQ(GgmlTypeName(10), "Q2_K");
  EXPECT_EQ(GgmlTypeName(39), "MXFP4");
  EXPECT_EQ(GgmlTypeName(40), "unknown");
  EXPECT_EQ(GgmlTypeName(0xffffffff), "unknown");
}

}  // namespace
}  // namespace skipserve
