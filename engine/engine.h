// The engine: takes requests, gives back streams of tokens. An interface, so that front ends are
// tested with a fake. Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/chat_template.h"
#include "engine/model_config.h"
#include "engine/request.h"
#include "engine/request_trace.h"
#include "engine/skip/guard.h"
#include "engine/skip/level_figures.h"
#include "engine/tokenizer.h"
#include "scheduler/scheduler.h"

namespace skipserve {

// What a level saves at one prompt length, by arithmetic.
struct LevelBound {
  int64_t prompt_tokens = 0;
  double flop_bound = 1;  // dense prefill FLOPs / the level's
  double kv_share = 1;    // of a dense prompt's KV
};

// A level of skipping as it acts on this model.
struct SkipLevelInfo {
  std::string name;
  SkipPolicy policy;
  std::string policy_fingerprint;
  std::vector<LevelBound> bounds;  // ascending
  LevelFigures figures;            // measured; empty where nobody has
};

struct ModelInfo {
  ModelConfig config;
  std::string fingerprint;
  std::string dtype;           // of weights: "f32", "bf16", "int8" or "int4"
  std::string kv_dtype;        // "f32", "bf16" or "int8"
  int64_t kv_token_bytes = 0;  // of a token's K and V in one layer
  std::string backend;         // Ops::name()
  int64_t max_context = 0;     // tokens, prompt and answer together
  int64_t default_max_tokens = 0;
  int64_t skip_min_prompt = 0;             // shorter prompts run dense in mode auto
  std::string default_skip_level;          // "off" where the model has no settings
  std::vector<SkipLevelInfo> skip_levels;  // from gentle to fast
};

struct EngineLoad {
  int64_t waiting = 0;
  int64_t prefilling = 0;
  int64_t decoding = 0;
  int64_t kv_blocks_used = 0;
  int64_t kv_blocks_reserved = 0;
  int64_t kv_blocks_total = 0;
  int64_t kv_blocks_cached = 0;  // of prefixes that no request reads: free to whoever needs them
  int64_t prefix_tokens = 0;     // tokens in the prefix cache
  int64_t prefix_evictions = 0;  // blocks of tokens that left it for others, since the start
  int64_t preemptions = 0;       // since the start
  int64_t prefixes = 0;          // kept by name
  std::vector<int64_t> kv_blocks_by_layer;  // kv_blocks_used, by layer
  bool draining = false;
  std::vector<LevelFallback> fallbacks;  // levels not served for now, from gentle to fast
};

constexpr size_t kMaxPrefixName = 128;

// A document that is read before its questions. The trunk's part of it is computed once, for
// requests whose prompts begin with these tokens, and stays until it is dropped.
struct PrefixRequest {
  std::string name;             // 1 to kMaxPrefixName bytes
  std::vector<int32_t> tokens;  // what is kept ends with the last full KV block
  SkipRequest skip;             // as the questions will ask: it decides which layers are the trunk
  std::string tenant;           // as the questions'
  std::string client;           // whose share of the machine it takes
  std::string cache_salt;       // as the questions'
};

struct PrefixInfo {
  std::string name;
  int64_t tokens = 0;        // kept
  int64_t kv_blocks = 0;     // that they take
  int32_t trunk_layers = 0;  // all: for dense questions
  std::string skip_level;    // "off", a level's name, or "custom"
  absl::Time read_at;
};

// The end of a canary: a request that skipped, run again densely with the same tokens forced.
struct CanaryEvent {
  enum class Outcome { kMeasured, kDropped, kFailed };
  Outcome outcome = Outcome::kMeasured;
  std::string level;  // that the request was served by; "custom": a policy of its own
  int64_t prompt_tokens = 0;
  int64_t tokens = 0;    // compared, the answer's first ones
  int64_t agreeing = 0;  // of these, where both runs prefer the same token
  double kl = 0;         // KL(dense || skipping), nats per token compared
  std::string why;       // it was dropped or failed
};

// What the engine tells whoever counts: called from the step thread where nothing else is said,
// must return at once.
class EngineObserver {
 public:
  virtual ~EngineObserver() = default;
  virtual void OnOpen(const Scheduler::Options& /*options*/) {}  // first, on the opener's thread
  virtual void OnStep(absl::Duration /*duration*/, int64_t /*decode_tokens*/,
                      int64_t /*prefill_tokens*/) {}
  // Ended, or refused for want of room or time; on any thread.
  virtual void OnRequest(const RequestTrace& /*trace*/) {}
  virtual void OnCanary(const CanaryEvent& /*event*/) {}
  virtual void OnLevelChange(const LevelChange& /*change*/) {}
};

class Engine {
 public:
  virtual ~Engine() = default;

  // Checks the request and queues it; events go to `sink` from then on, also where it is cancelled
  // at once. INVALID_ARGUMENT (the message says what to change), RESOURCE_EXHAUSTED (queue full, or
  // larger than the KV pool), DEADLINE_EXCEEDED (its prompt alone takes longer), UNAVAILABLE
  // (draining). On an error the sink is never called.
  virtual absl::StatusOr<RequestId> Submit(GenerateRequest request,
                                           std::shared_ptr<ResponseSink> sink) = 0;

  // Ends the request with CANCELLED within one step; unknown or ended ids are ignored.
  virtual void Cancel(RequestId id) = 0;

  // Refuses new work, waits until all is done or `grace` is over, then ends the rest with
  // UNAVAILABLE.
  virtual void Drain(absl::Duration grace) = 0;

  // Reads a prefix and keeps it; OnFinish tells when that is done, and there are no tokens before.
  // INVALID_ARGUMENT (a name, salt or prompt that cannot be, no full block of tokens),
  // ALREADY_EXISTS, FAILED_PRECONDITION without a prefix cache; else as Submit. OnFinish has
  // RESOURCE_EXHAUSTED where requests that are here need the memory.
  virtual absl::StatusOr<RequestId> ReadPrefix(PrefixRequest request,
                                               std::shared_ptr<ResponseSink> sink) = 0;
  virtual std::vector<PrefixInfo> Prefixes(absl::string_view tenant) const = 0;  // kept, by name
  // Lets go of it; requests that read it go on. NOT_FOUND.
  virtual absl::Status DropPrefix(absl::string_view tenant, absl::string_view name) = 0;

  // How long until there is likely room again, at the rate at which requests have been admitted
  // lately; zero where none waits.
  virtual absl::Duration RetryAfter() const = 0;

  virtual EngineLoad load() const = 0;
  virtual const ModelInfo& info() const = 0;
  virtual const Tokenizer& tokenizer() const = 0;
  virtual const ChatTemplate* chat_template() const = 0;  // null where the model has none
};

}  // namespace skipserve
