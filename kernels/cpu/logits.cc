#include "kernels/logits.h"

#include <algorithm>
#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/logits.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/cpu/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skipserve::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using cpu::HWY_NAMESPACE::Exp;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

constexpr float kNever = -std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();

HWY_INLINE V Tame(D d, V x) {
  return hn::Min(hn::IfThenElse(hn::IsNaN(x), hn::Set(d, kNever), x), hn::Set(d, kLargest));
}

// Up to a vector's lanes; -infinity, which every pass passes over, in the rest.
HWY_INLINE V LoadTail(D d, const float* from, int64_t count) {
  HWY_ALIGN float lanes[hn::MaxLanes(d)];
  std::fill_n(std::copy_n(from, count, lanes), hn::Lanes(d) - count, kNever);
  return Tame(d, hn::Load(d, lanes));
}

int64_t Next(const float* logits, int64_t size, int64_t begin, float least) {
  const D d;
  const int64_t n = hn::Lanes(d);
  const V bound = hn::Set(d, std::max(least, -kLargest));
  int64_t i = begin;
  for (; i + n <= size; i += n) {
    const intptr_t lane = hn::FindFirstTrue(d, hn::Ge(Tame(d, hn::LoadU(d, logits + i)), bound));
    if (lane >= 0) return i + lane;
  }
  if (i >= size) return size;
  const intptr_t lane = hn::FindFirstTrue(d, hn::Ge(LoadTail(d, logits + i, size - i), bound));
  return lane >= 0 ? i + lane : size;
}

// The largest first, then where it stands: two light passes beat one that carries indices.
int64_t Best(const float* logits, int64_t size) {
  const D d;
  const int64_t n = hn::Lanes(d);
  V best = hn::Set(d, kNever);
  int64_t i = 0;
  for (; i + n <= size; i += n) best = hn::Max(best, Tame(d, hn::LoadU(d, logits + i)));
  if (i < size) best = hn::Max(best, LoadTail(d, logits + i, size - i));
  const float largest = hn::GetLane(hn::MaxOfLanes(d, best));
  return largest == kNever ? -1 : Next(logits, size, 0, largest);
}

double SumExp(const float* logits, int64_t size, float max, float temperature) {
  const D d;
  const int64_t n = hn::Lanes(d);
  const V top = hn::Set(d, max), t = hn::Set(d, temperature);
  const auto term = [&](V x) { return Exp(d, hn::Div(hn::Sub(x, top), t)); };
  // Few enough terms a float for its rounding to stay below the exponentials'.
  constexpr int64_t kBlock = 8;
  double sum = 0;
  int64_t i = 0;
  while (i + n <= size) {
    V block = hn::Zero(d);
    for (int64_t k = 0; k < kBlock && i + n <= size; ++k, i += n) {
      block = hn::Add(block, term(Tame(d, hn::LoadU(d, logits + i))));
    }
    sum += hn::GetLane(hn::SumOfLanes(d, block));
  }
  if (i < size) sum += hn::GetLane(hn::SumOfLanes(d, term(LoadTail(d, logits + i, size - i))));
  return sum;
}

void TameAll(const float* logits, int64_t size, float* out) {
  const D d;
  const int64_t n = hn::Lanes(d);
  int64_t i = 0;
  for (; i + n <= size; i += n) hn::StoreU(Tame(d, hn::LoadU(d, logits + i)), d, out + i);
  for (; i < size; ++i) out[i] = std::isnan(logits[i]) ? kNever : std::min(logits[i], kLargest);
}

}  // namespace
}  // namespace skipserve::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace skipserve {

HWY_EXPORT(Best);
HWY_EXPORT(Next);
HWY_EXPORT(SumExp);
HWY_EXPORT(TameAll);

int64_t BestLogit(absl::Span<const float> logits) {
  return HWY_DYNAMIC_DISPATCH(Best)(logits.data(), logits.size());
}
int64_t NextAtLeast(absl::Span<const float> logits, int64_t begin, float least) {
  return HWY_DYNAMIC_DISPATCH(Next)(logits.data(), logits.size(), begin, least);
}
double SumOfExp(absl::Span<const float> logits, float max, float temperature) {
  return HWY_DYNAMIC_DISPATCH(SumExp)(logits.data(), logits.size(), max, temperature);
}
void TameLogits(absl::Span<const float> logits, float* out) {
  HWY_DYNAMIC_DISPATCH(TameAll)(logits.data(), logits.size(), out);
}

}  // namespace skipserve
#endif  // HWY_ONCE
