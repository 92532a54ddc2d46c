// Chooses the next token from one row of logits. Const and stateless, so one Sampler serves all
// threads. A draw depends on the logits, the parameters, the counts and the position only: never on
// who shares the batch or on earlier draws. Cost is linear in the vocabulary; nothing sorts all of
// it.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/request.h"

namespace skipserve {

// How often each token stands in a request's prompt and in its answer so far. Not thread-safe.
class TokenCounts {
 public:
  struct Count {
    int32_t prompt = 0;
    int32_t answer = 0;
  };

  void AddPrompt(absl::Span<const int32_t> ids) {
    for (const int32_t id : ids) ++counts_[id].prompt;
  }
  void AddAnswer(int32_t id) { ++counts_[id].answer; }
  const absl::flat_hash_map<int32_t, Count>& counts() const { return counts_; }

 private:
  absl::flat_hash_map<int32_t, Count> counts_;
};

class Sampler {
 public:
  struct Result {
    int32_t token = 0;
    // Log-softmax of the raw logits, before bias, penalties, temperature and filters: what the
    // model thinks, whatever the caller asked for. Finite: a raw probability of zero is
    // kNoProbability.
    float logprob = 0;              // the token's own; 0 where `logprobs` is negative
    std::vector<TokenLogprob> top;  // the `logprobs` best of the raw logits, best first
  };
  static constexpr float kNoProbability = -9999.0f;

  // In this order: logit bias, repetition penalty, presence and frequency penalties, `banned`
  // tokens, temperature, top_k, top_p, min_p. Greedy where the temperature is 0. Ties go to the
  // lower id, everywhere. Ids outside the vocabulary are ignored, NaN counts as -infinity.
  // `position` tells one answer's draws apart (the new token's position in the sequence);
  // `logprobs` as in GenerateRequest. INTERNAL where no token has a finite logit left.
  absl::StatusOr<Result> Draw(absl::Span<const float> logits, const SamplingParams& params,
                              const TokenCounts& counts, absl::Span<const int32_t> banned,
                              uint64_t position, int32_t logprobs) const;
};

// The uniform number in [0, 1) of a draw: Philox4x32-10 with the seed as key and position and
// choice as counter. The same on every machine.
double UniformDraw(uint64_t seed, uint32_t choice, uint64_t position);

}  // namespace skipserve
