#include "engine/quality/canary.h"

#include <utility>

#include "engine/quality/divergence.h"

namespace skipserve {

void CanaryRecord::Add(absl::Span<const float> logits, int32_t token) {
  if (tokens_.size() == kMaxTokens) return;
  logits_.emplace_back(logits.begin(), logits.end());
  tokens_.push_back(token);
}

Canary::Canary(RequestId request, std::string level, std::vector<int32_t> prompt,
               CanaryRecord record)
    : request_(request),
      level_(std::move(level)),
      prompt_(std::move(prompt)),
      record_(std::move(record)) {}

bool Canary::Compare(absl::Span<const float> dense_logits) {
  const absl::Span<const float> skipping = record_.logits(compared_++);
  kl_sum_ += KlDivergence(dense_logits, skipping);
  agreeing_ += ArgMax(dense_logits) == ArgMax(skipping);
  return compared_ == record_.size();
}

}  // namespace skipserve
