// What a caller asks of the engine and what it gets back: plain values, immutable once submitted.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/skip/policy.h"

namespace skipserve {

using RequestId = uint64_t;

struct SamplingParams {
  float temperature = 1.0f;         // 0: greedy
  int32_t top_k = 0;                // 0: off
  float top_p = 1.0f;               // in (0, 1]
  float min_p = 0.0f;               // in [0, 1]
  float repetition_penalty = 1.0f;  // > 0; over prompt and answer
  float presence_penalty = 0.0f;    // over the answer
  float frequency_penalty = 0.0f;   // over the answer
  std::vector<std::pair<int32_t, float>> logit_bias;
  uint64_t seed = 0;
  // Answers to one request differ by this (n > 1); part of the draw.
  uint32_t choice = 0;
};

struct StopRules {
  int64_t max_tokens = 0;  // new tokens; 0: the engine's default
  int64_t min_tokens = 0;  // no end-of-answer token and no stop before so many
  bool ignore_eos = false;
  std::vector<std::string> strings;  // the answer ends before the first of these
  std::vector<int32_t> token_ids;
};

// What the caller wants of skipping. Never lossy unless asked for: kOff is exact.
struct SkipRequest {
  enum class Mode { kOff, kAuto, kLevel, kPolicy };
  Mode mode = Mode::kAuto;  // kAuto: the model's default level
  std::string level;        // kLevel: a name from the model's levels
  SkipPolicy policy;        // kPolicy
};

constexpr size_t kMaxCacheSalt = 128;
constexpr size_t kMaxClient = 256;
constexpr int32_t kMaxPriority = 100;

struct GenerateRequest {
  std::vector<int32_t> prompt;  // token ids, at least one
  SamplingParams sampling;
  StopRules stop;
  SkipRequest skip;
  // Requests share what is cached of their prompts only where this is equal: nobody can tell by the
  // time it takes what others have asked. At most kMaxCacheSalt bytes.
  std::string cache_salt;
  // Where it is set, likewise: whose key a request has. Kept prefixes are their tenant's.
  std::string tenant;
  // Higher ones are admitted first and preempted last; from -kMaxPriority to kMaxPriority.
  int32_t priority = 0;
  // Whose it is: clients that wait share the machine evenly. At most kMaxClient bytes.
  std::string client;
  int32_t logprobs = -1;            // -1: none; k >= 0: the token's own and the k best (k <= 20)
  bool layer_report = false;        // counts by layer in the report
  bool row_report = false;          // active rows by layer in the report (large)
  bool skip_special_tokens = true;  // in the text given out
  absl::Time deadline = absl::InfiniteFuture();
};

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0;
};

// One new token. `text` may be empty while a character or a possible stop string is incomplete.
struct TokenEvent {
  int32_t id = 0;
  std::string text;
  std::optional<float> logprob;
  std::vector<TokenLogprob> top;
};

enum class FinishReason { kStop, kLength };

struct LayerCounts {
  int64_t candidates = 0;
  int64_t attention = 0;
  int64_t ffn = 0;
  int64_t kv = 0;  // prompt tokens cached
};

struct LayerRows {
  std::vector<int32_t> attention;  // positions in the prompt, ascending
  std::vector<int32_t> ffn;
};

// What a request cost and what was skipped. Ratios are of the prompt's token-layers: 0 is dense.
struct Report {
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;  // prompt tokens whose trunk came from the prefix cache
  int64_t completion_tokens = 0;
  std::string skip_level;          // "off", a level's name, or "custom"
  std::string skip_reason;         // why it ran dense, or gentler than it asked for; else empty
  std::string policy_fingerprint;  // of the policy that acted; empty where it ran dense
  // What the level was measured to cost at about this length, in LengthFigures' terms: none for a
  // policy of the caller's own or a level nobody measured. Dense is exact: 0 and 1.
  std::optional<double> expected_kl;
  std::optional<double> expected_agreement;
  double skip_ratio = 0;  // 1 - FLOPs / dense FLOPs of the prefill
  double attention_skip_ratio = 0;
  double ffn_skip_ratio = 0;
  double kv_skip_ratio = 0;
  double flop_bound = 1;            // dense prefill FLOPs / this prefill's FLOPs
  int64_t kv_token_layers = 0;      // prompt tokens cached, summed over layers
  int64_t token_layers = 0;         // prompt_tokens * layers
  std::vector<LayerCounts> layers;  // if asked for
  std::vector<LayerRows> rows;      // if asked for
  absl::Duration queue = absl::ZeroDuration();
  absl::Duration trunk = absl::ZeroDuration();
  absl::Duration skipping = absl::ZeroDuration();
  absl::Duration prefill = absl::ZeroDuration();  // admission to the first token
  absl::Duration ttft = absl::ZeroDuration();     // submission to the first token
  absl::Duration inter_token_mean = absl::ZeroDuration();
  absl::Duration inter_token_max = absl::ZeroDuration();
  absl::Duration total = absl::ZeroDuration();  // submission to the end
};

struct FinishEvent {
  absl::Status status;  // OK; or CANCELLED, DEADLINE_EXCEEDED, UNAVAILABLE, INTERNAL
  FinishReason reason = FinishReason::kStop;
  std::string text;  // the rest of the answer's text, held back until now
  Report report;     // as far as the request came
};

// Where a request's events go. Called from the engine's step thread: must return at once and never
// call back into the engine. OnFinish comes exactly once, last.
class ResponseSink {
 public:
  virtual ~ResponseSink() = default;
  virtual void OnToken(TokenEvent event) = 0;
  virtual void OnFinish(FinishEvent event) = 0;
};

}  // namespace skipserve
