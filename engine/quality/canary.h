// A canary: an answer of a skipping run, held against a dense run over the same prompt that is fed
// the same tokens. Says how far the two runs' next-token distributions are apart. Runs nothing
// itself. Not thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "engine/request.h"
#include "engine/skip/guard.h"

namespace skipserve {

struct CanaryOptions {
  double rate = 0;  // share of the requests that skip; the seed and a request's id decide
  uint64_t seed = 0;
  LevelGuard::Options guard;
};

// The skipping run's side, kept while it answers.
class CanaryRecord {
 public:
  // Later tokens are not kept: most of what skipping costs shows at once, and every token kept
  // takes a row of the vocabulary's size.
  static constexpr size_t kMaxTokens = 32;

  // Raw logits, before sampling changes them, and the token that was drawn from them.
  void Add(absl::Span<const float> logits, int32_t token);

  size_t size() const { return tokens_.size(); }
  int32_t token(size_t i) const { return tokens_[i]; }
  absl::Span<const float> logits(size_t i) const { return logits_[i]; }

 private:
  std::vector<int32_t> tokens_;
  std::vector<std::vector<float>> logits_;
};

class Canary {
 public:
  Canary(RequestId request, std::string level, std::vector<int32_t> prompt, CanaryRecord record);

  // Compares the dense run's logits at the next position; true when that was the last. Call it so
  // often and no more. Else next_token() is what the dense run reads next.
  bool Compare(absl::Span<const float> dense_logits);
  int32_t next_token() const { return record_.token(compared_ - 1); }

  RequestId request() const { return request_; }
  const std::string& level() const { return level_; }
  const std::vector<int32_t>& prompt() const { return prompt_; }
  int64_t tokens() const { return static_cast<int64_t>(record_.size()); }
  int64_t compared() const { return static_cast<int64_t>(compared_); }
  int64_t agreeing() const { return agreeing_; }  // positions where both prefer the same token
  // KL(dense || skipping), nats per token compared; not finite where logits were not.
  double kl() const { return compared_ == 0 ? 0 : kl_sum_ / static_cast<double>(compared_); }

 private:
  const RequestId request_;
  const std::string level_;
  const std::vector<int32_t> prompt_;
  const CanaryRecord record_;
  size_t compared_ = 0;
  int64_t agreeing_ = 0;
  double kl_sum_ = 0;
};

}  // namespace skipserve
