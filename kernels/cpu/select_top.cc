#include "kernels/cpu/select_top.h"

#include <algorithm>
#include <bit>
#include <cassert>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/select_top.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace skipserve::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using DU = hn::RebindToUnsigned<D>;

// Keys order as the scores do: NaN lowest, -0 equal to 0.
uint32_t Key(float score) {
  if (score != score) return 0;
  const uint32_t bits = std::bit_cast<uint32_t>(score + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

void Keys(const float* scores, int64_t count, uint32_t* keys) {
  const D d;
  const DU du;
  const hn::RebindToSigned<D> di;
  const int64_t n = hn::Lanes(d);
  int64_t i = 0;
  for (; i + n <= count; i += n) {
    const auto score = hn::LoadU(d, scores + i);
    const auto bits = hn::BitCast(du, hn::Add(score, hn::Zero(d)));
    const auto sign = hn::BitCast(du, hn::ShiftRight<31>(hn::BitCast(di, bits)));  // all ones or 0
    const auto key = hn::Xor(bits, hn::Or(sign, hn::Set(du, 0x80000000u)));
    hn::StoreU(hn::IfThenZeroElse(hn::RebindMask(du, hn::IsNaN(score)), key), du, keys + i);
  }
  for (; i < count; ++i) keys[i] = Key(scores[i]);
}

int64_t CountAtLeast(const uint32_t* keys, int64_t count, uint32_t least) {
  const DU du;
  const int64_t n = hn::Lanes(du);
  const auto bound = hn::Set(du, least);
  int64_t found = 0, i = 0;
  for (; i + n <= count; i += n) {
    found += n - hn::CountTrue(du, hn::Lt(hn::LoadU(du, keys + i), bound));
  }
  for (; i < count; ++i) found += keys[i] >= least;
  return found;
}

// The largest key that at least `wanted` keys reach, bit by bit: 32 passes over keys that lie in
// cache, whatever their values.
uint32_t Threshold(const uint32_t* keys, int64_t count, int64_t wanted) {
  uint32_t threshold = 0;
  for (uint32_t bit = 0x80000000u; bit != 0; bit >>= 1) {
    if (CountAtLeast(keys, count, threshold | bit) >= wanted) threshold |= bit;
  }
  return threshold;
}

// Writes `first` + the index of each key above the threshold, and of the first `ties` equal to it.
int32_t* Emit(const uint32_t* keys, int64_t count, uint32_t threshold, int64_t ties, int64_t first,
              int32_t* out) {
  const DU du;
  const hn::RebindToSigned<DU> di;
  const int64_t n = hn::Lanes(du);
  const auto bound = hn::Set(du, threshold);
  int64_t i = 0;
  for (; i + n <= count; i += n) {
    const auto key = hn::LoadU(du, keys + i);
    auto take = hn::Gt(key, bound);
    const auto equal = hn::Eq(key, bound);
    const auto equals = static_cast<int64_t>(hn::CountTrue(du, equal));
    if (equals > 0 && ties > 0) {
      const int64_t more = std::min(ties, equals);
      // The first `more` of the equal ones: all before the lane at which they are used up.
      int64_t lanes = n;
      while (static_cast<int64_t>(hn::CountTrue(du, hn::And(equal, hn::FirstN(du, lanes)))) >
             more) {
        --lanes;
      }
      take = hn::Or(take, hn::And(equal, hn::FirstN(du, lanes)));
      ties -= more;
    }
    const auto rows = hn::Iota(di, static_cast<int32_t>(first + i));
    out += hn::CompressBlendedStore(rows, hn::RebindMask(di, take), di, out);
  }
  for (; i < count; ++i) {
    if (keys[i] > threshold || (keys[i] == threshold && ties-- > 0)) {
      *out++ = static_cast<int32_t>(first + i);
    }
  }
  return out;
}

int32_t* Choose(const float* scores, int64_t count, int64_t wanted, uint32_t* keys, int64_t first,
                int32_t* out) {
  Keys(scores, count, keys);
  const uint32_t threshold = Threshold(keys, count, wanted);
  const int64_t above = threshold == ~0u ? 0 : CountAtLeast(keys, count, threshold + 1);
  return Emit(keys, count, threshold, wanted - above, first, out);
}

}  // namespace
}  // namespace skipserve::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skipserve::cpu {

HWY_EXPORT(Choose);

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
  const int64_t open = count - (head + n - tail);  // places left for the competing rows
  keys.resize(tail - head);
  int32_t* out = rows_out;
  for (int64_t row = 0; row < head; ++row) *out++ = static_cast<int32_t>(row);
  out = HWY_DYNAMIC_DISPATCH(Choose)(scores + head, tail - head, open, keys.data(), head, out);
  for (int64_t row = tail; row < n; ++row) *out++ = static_cast<int32_t>(row);
}

}  // namespace skipserve::cpu
#endif  // HWY_ONCE
