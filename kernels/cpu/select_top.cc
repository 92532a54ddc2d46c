#include "kernels/cpu/select_top.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <functional>

namespace skipserve::cpu {
namespace {

// Orders as the scores do: NaN lowest, -0 equal to 0.
uint32_t Key(float score) {
  if (score != score) return 0;
  const uint32_t bits = std::bit_cast<uint32_t>(score + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

}  // namespace

void SelectTop(const float* scores, int64_t n, int64_t count, int64_t always_head,
               int64_t always_tail, std::vector<uint32_t>& keys, int32_t* rows_out) {
  assert(1 <= count && count <= n);
  // Rows [head, tail) compete; the others are kept whatever they score.
  const int64_t head = std::clamp<int64_t>(always_head, 0, n - 1);
  const int64_t tail = std::clamp<int64_t>(n - always_tail, head, n - 1);
  if (head + n - tail >= count) {
    int64_t filled = 0;
    for (int64_t row = 0; filled < count - 1; row = row + 1 == head ? tail : row + 1) {
      if (row == 0 && head == 0) row = tail;
      rows_out[filled++] = static_cast<int32_t>(row);
    }
    rows_out[filled] = static_cast<int32_t>(n - 1);
    return;
  }
  int64_t open = count - (head + n - tail);  // places left for the competing rows
  keys.resize(tail - head);
  std::transform(scores + head, scores + tail, keys.begin(), Key);
  std::nth_element(keys.begin(), keys.begin() + (open - 1), keys.end(), std::greater<uint32_t>());
  const uint32_t threshold = keys[open - 1];
  const int64_t above = std::count_if(keys.begin(), keys.begin() + (open - 1),
                                      [&](uint32_t key) { return key > threshold; });
  int64_t ties = open - above;
  int32_t* out = rows_out;
  for (int64_t row = 0; row < n; ++row) {
    bool take = row < head || row >= tail;
    if (!take) {
      const uint32_t key = Key(scores[row]);
      take = key > threshold || (key == threshold && ties-- > 0);
    }
    if (take) *out++ = static_cast<int32_t>(row);
  }
}

}  // namespace skipserve::cpu
