// Hidden states that go into KV blocks come out as they were, or rounded once.
#include <algorithm>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/bf16.h"
#include "tests/kernels/support.h"

namespace skipserve::testing {
namespace {

struct Case {
  KvLayout layout;
  int64_t width;
  DType dtype;
};

// Widths below, at and beyond what one block holds, odd ones too.
std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const DType kv : {DType::kF32, DType::kBF16, DType::kInt8}) {
    for (const DType states : {DType::kF32, DType::kBF16}) {
      for (const int64_t width : {1, 7, 64, 100, 576}) {
        cases.push_back({{kv, 4, 2, 16}, width, states});
        cases.push_back({{kv, 1, 1, 8}, width, states});
      }
    }
  }
  return cases;
}

Matrix Rounded(Matrix m, DType dtype) {
  if (dtype == DType::kF32) return m;
  for (float& v : m.values) v = Bf16ToF32(F32ToBf16(v));
  return m;
}

void CheckCase(Ops& ops, const Case& c) {
  const int64_t parts = StateBlocks(c.layout, c.width, c.dtype), groups = 3;
  ASSERT_GE(parts * StateColumns(c.layout, c.dtype), c.width);
  const int64_t num_blocks = groups * parts + 2;
  Buffer memory = *ops.Allocate(num_blocks * c.layout.block_bytes());
  const std::vector<char> before(memory.bytes(), 'x');
  ops.Upload(before.data(), memory.data(), before.size());
  const KvPool pool = {memory.data(), c.layout};
  const std::vector<int32_t> order = RandomRows(groups * parts, num_blocks, 5);
  const DeviceIndex blocks(ops, order);

  const Matrix x = Random(groups * c.layout.block_tokens, c.width, 9);
  const Device in(ops, x, /*padding=*/3);
  ops.StatesWrite(in.view(), blocks.view(), c.dtype, pool);
  const Device out = Device::Empty(ops, x.rows, x.cols, /*padding=*/5);
  ops.StatesRead(blocks.view(), c.dtype, pool, out.view());
  EXPECT_EQ(out.Get().values, Rounded(x, c.dtype).values);
  // The last group alone, as a later chunk of the prompt would write it.
  const Matrix y = Random(c.layout.block_tokens, c.width, 10);
  const Device again(ops, y);
  ops.StatesWrite(again.view(), blocks.view().Slice((groups - 1) * parts, parts), c.dtype, pool);
  ops.StatesRead(blocks.view(), c.dtype, pool, out.view());
  const Matrix got = out.Get(), first = Rounded(x, c.dtype), last = Rounded(y, c.dtype);
  for (int64_t r = 0; r < x.rows; ++r) {
    const int64_t of_last = r - (groups - 1) * c.layout.block_tokens;
    for (int64_t i = 0; i < c.width; ++i) {
      ASSERT_EQ(got.at(r, i), of_last < 0 ? first.at(r, i) : last.at(of_last, i)) << r << " " << i;
    }
  }
  // No other block was touched.
  std::vector<char> after(memory.bytes());
  ops.Download(memory.data(), after.data(), after.size());
  for (int32_t b = 0; b < num_blocks; ++b) {
    if (std::find(order.begin(), order.end(), b) != order.end()) continue;
    for (size_t i = 0; i < c.layout.block_bytes(); ++i) {
      ASSERT_EQ(after[b * c.layout.block_bytes() + i], 'x');
    }
  }
}

TEST(States, ComeBackFromKvBlocks) {
  const auto check = [](Ops& ops) {
    for (const Case& c : Cases()) CheckCase(ops, c);
  };
  check(*MakeReferenceOps());
  ForEachCpu(check);
}

TEST(States, RoundRowsIsWhatKeepingThemDoes) {
  const auto check = [](Ops& ops) {
    const Matrix x = Random(5, 1100, 3);
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      const Device rows(ops, x, /*padding=*/2);
      ops.RoundRows(rows.view(), dtype);
      EXPECT_EQ(rows.Get().values, Rounded(x, dtype).values);
    }
  };
  check(*MakeReferenceOps());
  ForEachCpu(check);
}

}  // namespace
}  // namespace skipserve::testing
