// How far one next-token distribution is from another. Pure functions; any thread.
#pragma once

#include <cstdint>

#include "absl/types/span.h"

namespace skipserve {

// KL(p || q) in nats, p and q the softmax of the logits; sizes are equal and at least one. Never
// below 0; infinite or NaN logits give NaN.
double KlDivergence(absl::Span<const float> p_logits, absl::Span<const float> q_logits);

// -log softmax(logits)[id], in nats.
double TokenLoss(absl::Span<const float> logits, int32_t id);

// The first of the largest logits: the greedy token.
int32_t ArgMax(absl::Span<const float> logits);

}  // namespace skipserve
