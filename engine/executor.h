// Runs the scheduler's step plans on the decoder: decode batches, trunk chunks, slices of skipping
// layers. Keeps what a sequence needs between steps, but no policy of its own. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "engine/decoder.h"
#include "engine/request.h"
#include "engine/skip/skipping_layers.h"
#include "scheduler/scheduler.h"

namespace skipserve {

// The block tables, by layer, of every sequence in a plan.
using TablesById = std::unordered_map<SequenceId, std::vector<BlockTable>>;

// The next-token logits of one sequence, valid until the next Run.
struct SequenceLogits {
  SequenceId id = 0;
  absl::Span<const float> logits;
};

struct PrefillTimes {
  absl::Duration trunk = absl::ZeroDuration();
  absl::Duration skipping = absl::ZeroDuration();
};

class Executor {
 public:
  struct Options {
    int32_t max_sequences = 32;  // sequences with logits in one step
    KvLayout kv_layout;
    int64_t kv_blocks = 0;
    // Of hidden states that leave a trunk. All prompts' are rounded to it, kept or not, so that an
    // answer does not depend on what was cached.
    DType state_dtype = DType::kF32;
    std::function<absl::Time()> now;
  };

  // RESOURCE_EXHAUSTED where the KV pool or the scratch does not fit in memory.
  static absl::StatusOr<std::unique_ptr<Executor>> Create(Decoder& decoder,
                                                          const std::vector<LayerProxy>& proxies,
                                                          Options options);

  // A sequence that will be in plans from now on. RESOURCE_EXHAUSTED without memory for its hidden
  // states.
  struct NewSequence {
    absl::Span<const int32_t> prompt;
    SkipPolicy policy;
    SkipPlan plan;
    bool record_rows = false;
    bool prefix_only = false;  // gives no logits
    Scheduler::Cached cached;  // what of its trunk is in the KV pool already
  };
  absl::Status Begin(SequenceId id, NewSequence sequence);
  // The token that the sequence's next decode step reads.
  void SetNextToken(SequenceId id, int32_t token);
  void Forget(SequenceId id);

  // Logits of every sequence that decoded or whose prefill came to its end.
  absl::StatusOr<std::vector<SequenceLogits>> Run(const StepPlan& plan, const TablesById& tables);

  bool Knows(SequenceId id) const { return sequences_.count(id) > 0; }
  // Of a sequence it knows.
  PrefillTimes prefill_times(SequenceId id) const { return sequences_.at(id).times; }
  std::vector<LayerRows> TakeRows(SequenceId id) { return std::move(sequences_.at(id).rows); }

 private:
  struct Sequence {
    std::vector<int32_t> prompt;
    SkipState skip;       // skip.hidden is empty for a dense plan
    Buffer chunk;         // [rows, width] of a dense plan: the chunk that is on its way
    int64_t decoded = 0;  // tokens fed after the prompt
    int32_t next_token = 0;
    bool record_rows = false;
    bool prefix_only = false;
    std::vector<LayerRows> rows;  // by layer, if recorded
    PrefillTimes times;
  };

  // Int32 values gathered on the host and sent to the backend in one piece.
  class Stage {
   public:
    void Clear() { host_.clear(); }
    template <typename Values>
    int64_t Add(const Values& values) {
      host_.insert(host_.end(), std::begin(values), std::end(values));
      return static_cast<int64_t>(host_.size()) - static_cast<int64_t>(std::size(values));
    }
    absl::Status Send(Ops& ops);
    IndexView View(int64_t offset, int64_t size) const { return {device_.i32() + offset, size}; }

   private:
    std::vector<int32_t> host_;
    Buffer device_;
  };

  Executor(Decoder& decoder, Options options) : decoder_(decoder), options_(std::move(options)) {}
  absl::Status Decode(const std::vector<DecodeItem>& items, const TablesById& tables);
  absl::Status Trunk(const TrunkItem& item, const std::vector<BlockTable>& tables);
  absl::Status KeepStates(const TrunkItem& item, const SkipState& skip);
  absl::Status Skip(const SkipItem& item, const std::vector<BlockTable>& tables);
  void EmitLogits(absl::Span<const SequenceId> ids, TensorView x, IndexView rows);

  Decoder& decoder_;
  const Options options_;
  std::unique_ptr<SkippingLayers> skipping_;
  std::unordered_map<SequenceId, Sequence> sequences_;

  Buffer kv_memory_;
  KvPool pool_;
  Buffer x_;       // [max_rows, width]
  Buffer logits_;  // [max_sequences, vocab_size]
  Stage stage_;
  std::vector<float> host_logits_;
  std::vector<SequenceId> logit_ids_;  // whose row of logits_ is whose
};

}  // namespace skipserve
