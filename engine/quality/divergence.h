// How far one next-token distribution is from another, from their logits. Pure functions that
// compute in double, whatever the size of the logits.
#pragma once

#include <cstdint>

#include "absl/types/span.h"

namespace skipserve {

// KL(p || q) of the softmaxes in nats, never negative. Infinite where q rules out what p allows;
// NaN where the sizes differ, or where a row has a NaN, an infinity, or nothing above -infinity.
double KlDivergence(absl::Span<const float> p_logits, absl::Span<const float> q_logits);

// -log softmax(logits)[id] in nats, for an id of the row; NaN where a row gives NaN above.
double TokenLoss(absl::Span<const float> logits, int32_t id);

// The likeliest token, of equals the first; NaN counts as -infinity. 0 where there is none.
int32_t ArgMax(absl::Span<const float> logits);

}  // namespace skipserve
