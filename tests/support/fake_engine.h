// An engine without a model, for tests of the front ends: it answers from its own thread with text
// that is known in advance, and a test decides when it goes on, what it refuses and how it fails.
// Thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "engine/engine.h"

namespace skipserve {

// One token per byte, then four special ones.
inline constexpr int32_t kFakeBos = 256;
inline constexpr int32_t kFakeEos = 257;
inline constexpr int32_t kFakeStart = 258;  // "<|im_start|>"
inline constexpr int32_t kFakeEnd = 259;    // "<|im_end|>"
inline constexpr int32_t kFakeVocab = 260;
// Of the policy of its one level, and of any other policy it is given.
inline constexpr char kFakeFingerprint[] = "0123456789abcdef";
std::unique_ptr<Tokenizer> MakeByteTokenizer(bool add_bos);

// Renders each message as "<|im_start|>role\ncontent<|im_end|>\n".
std::unique_ptr<ChatTemplate> MakeFakeChatTemplate();

struct FakeOptions {
  std::string answer = "The answer is 42.";  // a token per byte; over and over under ignore_eos
  absl::Duration first_token_delay = absl::ZeroDuration();
  absl::Duration token_delay = absl::ZeroDuration();
  int64_t max_queue = 1000;  // requests at once; more is RESOURCE_EXHAUSTED
  int64_t max_context = 4096;
  int64_t fail_after = -1;  // tokens after which an answer ends with fail_status
  absl::Status fail_status = absl::InternalError("the fake engine was told to fail");
  bool add_bos = false;
  bool has_chat_template = true;
  int32_t layers = 4;
  int64_t cached_tokens = 0;  // what every answer's report says of the prefix cache
};

class FakeEngine : public Engine {
 public:
  explicit FakeEngine(FakeOptions options = {});
  ~FakeEngine() override;  // ends what still runs with CANCELLED

  absl::StatusOr<RequestId> Submit(GenerateRequest request,
                                   std::shared_ptr<ResponseSink> sink) override;
  void Cancel(RequestId id) override;
  void Drain(absl::Duration grace) override;
  // Read when a first token would come; what Prefixes tells is made of what was asked.
  absl::StatusOr<RequestId> ReadPrefix(PrefixRequest request,
                                       std::shared_ptr<ResponseSink> sink) override;
  std::vector<PrefixInfo> Prefixes(absl::string_view tenant) const override;
  absl::Status DropPrefix(absl::string_view tenant, absl::string_view name) override;
  absl::Duration RetryAfter() const override;
  EngineLoad load() const override;
  const ModelInfo& info() const override { return info_; }
  const Tokenizer& tokenizer() const override { return *tokenizer_; }
  const ChatTemplate* chat_template() const override { return chat_template_.get(); }

  // --- for tests
  // What load() says of them from now on.
  void SetFallbacks(std::vector<LevelFallback> fallbacks);
  void SetRetryAfter(absl::Duration after);
  // The next submissions get these, in order; OK ones pass.
  void RefuseNext(std::vector<absl::Status> statuses);
  // While paused, requests wait where they are, but cancels, deadlines and Drain still work.
  void Pause();
  void Resume();
  // What was accepted, in order, with prompts.
  std::vector<GenerateRequest> requests() const;
  std::vector<PrefixRequest> prefix_requests() const;
  int64_t cancelled() const;    // that ended by Cancel
  int64_t tokens_made() const;  // by all requests
  // False where it did not come about within half a minute.
  bool WaitForRequests(int64_t count) const;
  bool WaitForPrefixRequests(int64_t count) const;
  bool WaitForCancelled(int64_t count) const;
  bool WaitForTokens(int64_t count) const;
  bool WaitForIdle() const;

 private:
  struct Running {
    GenerateRequest request;
    std::shared_ptr<ResponseSink> sink;
    std::unique_ptr<StreamDecoder> decoder;
    int64_t made = 0;
    absl::Time submitted, next, first, last;
    bool cancelled = false;
    std::optional<PrefixInfo> prefix;  // what it will be, where it is one
  };

  // What a sink is to be told, once the lock is released.
  using Events = std::vector<std::function<void()>>;

  absl::Status Refuse() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool HasPrefix(const std::string& tenant, const std::string& name) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  RequestId Start(Running running) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Run();
  // One token, or the end, of each request that is due.
  Events Step(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // OK: it goes on.
  absl::Status EndedBy(const Running& running, absl::Time now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // True where the request has ended.
  bool Advance(Running& running, absl::Time now, Events& events)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Finish(Running& running, absl::Status status, FinishReason reason, absl::Time now,
              Events& events);
  absl::Time NextDue() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Report MakeReport(const Running& running, absl::Time now) const;
  template <typename Predicate>
  bool Await(Predicate predicate) const;

  const FakeOptions options_;
  ModelInfo info_;
  const std::unique_ptr<Tokenizer> tokenizer_;
  const std::unique_ptr<ChatTemplate> chat_template_;

  mutable absl::Mutex mutex_;
  absl::CondVar wake_;
  std::map<RequestId, Running> running_ ABSL_GUARDED_BY(mutex_);
  std::deque<absl::Status> refusals_ ABSL_GUARDED_BY(mutex_);
  std::vector<GenerateRequest> requests_ ABSL_GUARDED_BY(mutex_);
  std::vector<PrefixRequest> prefix_requests_ ABSL_GUARDED_BY(mutex_);
  // By tenant and name.
  std::map<std::pair<std::string, std::string>, PrefixInfo> prefixes_ ABSL_GUARDED_BY(mutex_);
  RequestId next_id_ ABSL_GUARDED_BY(mutex_) = 1;
  int64_t cancelled_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t tokens_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<LevelFallback> fallbacks_ ABSL_GUARDED_BY(mutex_);
  absl::Duration retry_after_ ABSL_GUARDED_BY(mutex_) = absl::ZeroDuration();
  bool paused_ ABSL_GUARDED_BY(mutex_) = false;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  bool abandon_ ABSL_GUARDED_BY(mutex_) = false;  // Drain's grace is over
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace skipserve
