// Who runs next, and with what memory. Blocks are promised as a count at admission and taken from
// the pool only by the plan that writes to them.
#include <algorithm>

#include "scheduler/prefill_work.h"
#include "scheduler/scheduler.h"
#include "scheduler/shape.h"

namespace skipserve {

double Scheduler::Remaining(const Sequence& sequence) const {
  const SequenceShape& shape = sequence.shape;
  Work work;
  if (sequence.phase == Phase::kWaiting || sequence.phase == Phase::kTrunk) {
    work += TrunkWork(shape, sequence.trunk_tokens, shape.prompt_tokens);
  }
  if (!shape.prefix_only && sequence.phase <= Phase::kSkipping) {
    const SkipPoint begin = sequence.phase == Phase::kSkipping ? sequence.skip
                                                               : SkipPoint{shape.trunk_layers, 0};
    work += SkipWork(shape, begin, {options_.layers, 0});
  }
  return cost_.Seconds(work);
}

// A second waited counts as a second less to do.
bool Scheduler::Before(const Sequence& a, const Sequence& b, absl::Time now) const {
  const auto left = [&](const Sequence& s) {
    return Remaining(s) - absl::ToDoubleSeconds(now - std::min(now, s.seen_at));
  };
  return left(a) < left(b);
}

void Scheduler::Admit(absl::Time now, StepPlan& plan) {
  for (Sequence* sequence : waiting_) sequence->seen_at = std::min(sequence->seen_at, now);
  while (!waiting_.empty()) {
    const auto next = options_.shortest_first
                          ? std::min_element(waiting_.begin(), waiting_.end(),
                                             [&](const Sequence* a, const Sequence* b) {
                                               return Before(*a, *b, now);
                                             })
                          : waiting_.begin();
    Sequence& head = **next;
    // Whoever is behind the head waits too, even if small: else a large request might never start.
    if (running_.size() >= static_cast<size_t>(options_.max_running) ||
        prefilling_ >= options_.max_prefilling) {
      return;
    }
    std::vector<PrefixNode*> prefix = Match(head.shape);
    prefixes_.Hold(prefix);
    const bool idle_runs = !idle_.empty() && idle_.front()->phase != Phase::kWaiting;
    const int64_t most = idle_runs ? idle_.front()->blocks_needed : 0;
    const auto owed = [&] {
      return head.blocks_needed - static_cast<int64_t>(prefix.size()) * head.shape.trunk_layers;
    };
    // What it shares holds states too: alone, it takes less of it rather than wait for nobody.
    while (running_.empty() && !prefix.empty() && owed() > Spare() + most) {
      prefixes_.Release({prefix.back()});
      prefix.pop_back();
    }
    if (owed() > Spare() + most) {
      prefixes_.Release(prefix);
      return;
    }
    if (owed() > Spare()) DropIdle(plan);
    waiting_.erase(next);
    running_.push_back(&head);
    ++prefilling_;
    Start(head, prefix, now);
  }
}

void Scheduler::Start(Sequence& sequence, const std::vector<PrefixNode*>& prefix, absl::Time now) {
  const SequenceShape& shape = sequence.shape;
  sequence.phase = Phase::kTrunk;
  sequence.admitted_at = now;
  sequence.publishes = !shape.prefix_keys.empty();
  sequence.prefix = prefix;
  sequence.cached_blocks = static_cast<int64_t>(prefix.size());
  sequence.trunk_tokens = sequence.cached_blocks * options_.block_tokens;
  sequence.tables.resize(options_.layers);
  for (int32_t l = 0; l < options_.layers; ++l) {
    std::vector<BlockId>& blocks = sequence.tables[l].blocks;
    blocks.reserve(BlocksFor(KvLimit(shape, l), options_.block_tokens));
    if (l >= shape.trunk_layers) continue;
    for (const PrefixNode* node : prefix) blocks.push_back(node->kv[l]);
  }
  sequence.owed = sequence.blocks_needed - sequence.cached_blocks * shape.trunk_layers;
  if (shape.prefix_only) sequence.owed -= sequence.cached_blocks * StateBlocks(shape);
  Owed(sequence) += sequence.owed;
  if (sequence.trunk_tokens == shape.prompt_tokens) EndTrunk(sequence);
}

// Nobody waits: alone, any sequence that Add took would have been admitted.
void Scheduler::StartIdle(absl::Time now) {
  Sequence& first = *idle_.front();
  if (first.phase == Phase::kWaiting) Start(first, {}, now);
}

// The one that runs; those behind it hold nothing.
void Scheduler::DropIdle(StepPlan& plan) {
  const SequenceId id = idle_.front()->id;
  plan.dropped.push_back(id);
  Remove(id);
}

}  // namespace skipserve
