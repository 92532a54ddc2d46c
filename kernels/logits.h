// Passes over one row of logits in host memory: what sampling and the quality measures spend their
// time on. NaN counts as -infinity, +infinity as the largest float, so that no difference is one of
// infinities. A result depends on the row and on the machine's vector width only. Thread-safe.
#pragma once

#include <cstdint>

#include "absl/types/span.h"

namespace skipserve {

// The index of the largest logit, the lowest of equal ones; -1 where none is above -infinity.
int64_t BestLogit(absl::Span<const float> logits);

// The first index from `begin` on whose logit is at least `least` (which is no NaN) and above
// -infinity; the size of the row where there is none.
int64_t NextAtLeast(absl::Span<const float> logits, int64_t begin, float least);

// sum of exp((logit - max) / temperature) over the row. `max` is finite and no logit is above it,
// so each term is in [0, 1]; 0 < temperature, finite. A term e^x is exact to 5e-7 * (1 + |x|) of
// itself, and one below e^-87 may count as 0; the sum is kept in double.
double SumOfExp(absl::Span<const float> logits, float max, float temperature);

// The first `n` elements of both: out = in, with NaN and infinities as said above. May be in place.
void TameLogits(absl::Span<const float> logits, float* out);

}  // namespace skipserve
