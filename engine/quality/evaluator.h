// Reads one task in several ways and says how far each is from the dense read: the inner loop of
// `skipserve eval` and of calibration's search. One thread at a time.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/quality/prompt_reader.h"
#include "engine/quality/tasks.h"
#include "engine/skip/policy.h"
#include "engine/tokenizer.h"

namespace skipserve {

// Tokens that may follow a task's prompt: an answer, or the text's true next ones.
inline constexpr int64_t kAnswerRoom = 128;

// A way of reading a prompt, by what it may cost.
struct Reading {
  enum class Method {
    kSkip,       // `policy`
    kLast,       // only the last tokens, densely: as many as cost what `policy` costs
    kPruneOnce,  // `policy`, pruned once at its start to cost the same
  };
  std::string name;
  Method method = Method::kSkip;
  SkipPolicy policy;
};

// What a reading of one task gave. Sums are over the tokens of the dense answer, its end token
// among them.
struct Outcome {
  double flops = 0;            // of the prefill
  double flop_bound = 1;       // dense FLOPs / these
  double prefill_seconds = 0;  // of the layers before the start, as the dense read took, and after
  int64_t answer_tokens = 0;
  int64_t agreed = 0;  // greedy token is dense's
  double kl = 0;       // sum of KL(dense || this), nats
  double score = 0;    // share of the task's answers found; 0 without any
  double loss = 0;     // mean next-token loss on the task's continuation, nats; 0 without one
};

class Evaluator {
 public:
  struct Options {
    ProxyShape proxy;               // zeros: no proxies
    std::vector<int32_t> stop_ids;  // end an answer
    int64_t max_answer_tokens = 48;
    bool answers = true;  // false: only the dense read answers, and `score` stays 0 elsewhere
  };

  // All outlive it.
  Evaluator(PromptReader& reader, const Tokenizer& tokenizer, const ModelConfig& config,
            Options options);

  // outcomes[0] is the dense read's, then one for each reading. INVALID_ARGUMENT where task and
  // answer are longer than the reader's room, or a policy is not one for this model.
  absl::StatusOr<std::vector<Outcome>> Evaluate(const Task& task,
                                                absl::Span<const Reading> readings);

  // The dense read's answer to the last task, as text.
  const std::string& dense_answer() const { return dense_text_; }

 private:
  absl::Status ReadDense(const Task& task, absl::Span<const int32_t> starts, Outcome& outcome);
  absl::StatusOr<double> Loss(const Task& task);
  absl::Status Compare(const Task& task, Outcome& outcome);
  absl::Status ReadLast(const Task& task, Outcome& outcome);

  PromptReader& reader_;
  const Tokenizer& tokenizer_;
  const ModelConfig& config_;
  const Options options_;
  int64_t most_tokens_ = 0;            // of an answer to the task
  std::vector<int32_t> dense_tokens_;  // its answer
  std::vector<float> dense_logits_;    // [dense_tokens_.size(), vocab_size]
  std::string dense_text_;
};

}  // namespace skipserve
