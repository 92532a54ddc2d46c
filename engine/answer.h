// One answer in the making: from sampled tokens to text, stop rules, and the request's report.
// Lives on the step thread.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/request.h"
#include "engine/sampler.h"
#include "engine/skip/levels.h"
#include "engine/stop_matcher.h"
#include "engine/tokenizer.h"
#include "scheduler/types.h"

namespace skipserve {

class Answer {
 public:
  // `max_tokens` is the request's limit with defaults filled in.
  Answer(GenerateRequest request, ResolvedSkip skip, SequenceShape shape, int64_t max_tokens,
         const Tokenizer& tokenizer, std::shared_ptr<ResponseSink> sink, absl::Time submitted);

  // Draws the next token and gives it out. True when the answer is complete; Finish then tells the
  // sink.
  absl::StatusOr<bool> Next(absl::Span<const float> logits, const Sampler& sampler, absl::Time now);

  // From now on, what was drawn so far is fed again, by ReplayedToken, before anything is drawn.
  void BeginAgain() { replayed_ = 0; }
  // The token that stands at the place of the logits that came, where it was drawn before.
  std::optional<int32_t> ReplayedToken() {
    if (replayed_ == drawn_.size()) return std::nullopt;
    return drawn_[replayed_++];
  }

  // Tells the sink the end, once. `report` has what only the engine knows; the rest is filled in
  // here.
  void Finish(absl::Status status, Report report, absl::Time now);

  void MarkAdmitted(absl::Time now, int64_t cached_tokens) {
    admitted_ = now;
    cached_tokens_ = cached_tokens;
  }
  bool admitted() const { return admitted_ != absl::InfinitePast(); }

  const GenerateRequest& request() const { return request_; }
  const ResolvedSkip& skip() const { return skip_; }
  const SequenceShape& shape() const { return shape_; }
  int32_t last_token() const { return last_token_; }
  int64_t generated() const { return generated_; }
  absl::Time submitted() const { return submitted_; }
  absl::Time first_token_at() const { return first_token_; }  // InfinitePast: none yet

 private:
  bool EndsAnswer(int32_t token) const;
  std::vector<int32_t> BannedTokens() const;
  void NoteTime(absl::Time now);

  const GenerateRequest request_;
  const ResolvedSkip skip_;
  const SequenceShape shape_;
  const int64_t max_tokens_;
  const Tokenizer& tokenizer_;
  const std::shared_ptr<ResponseSink> sink_;

  TokenCounts counts_;
  StreamDecoder decoder_;
  StopMatcher stops_;
  int64_t generated_ = 0;
  std::vector<int32_t> drawn_;
  size_t replayed_ = 0;  // of drawn_; all of them but after BeginAgain
  int32_t last_token_ = 0;
  FinishReason reason_ = FinishReason::kStop;

  const absl::Time submitted_;
  absl::Time admitted_ = absl::InfinitePast();
  int64_t cached_tokens_ = 0;
  absl::Time first_token_ = absl::InfinitePast();
  absl::Time latest_token_ = absl::InfinitePast();
  absl::Duration longest_gap_ = absl::ZeroDuration();
};

// What is known of a request from its plan and its level alone: ratios, bound, what it is expected
// to lose, counts by layer if `by_layer`.
Report PlanReport(const ResolvedSkip& skip, const SkipLevels& levels, bool by_layer);

}  // namespace skipserve
