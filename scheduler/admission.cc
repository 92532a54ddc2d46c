// Who runs next, and with what memory. Blocks are promised as a count at admission and taken from
// the pool only by the plan that writes to them.
#include <algorithm>

#include "scheduler/prefill_work.h"
#include "scheduler/scheduler.h"
#include "scheduler/shape.h"

namespace skipserve {

double Scheduler::Remaining(const Sequence& sequence) const {
  const SequenceShape& shape = sequence.shape;
  if (sequence.phase == Phase::kSkipping) {
    return cost_.Seconds(SkipWork(shape, sequence.skip, {options_.layers, 0}));
  }
  if (sequence.phase > Phase::kSkipping) return 0;
  Work work;
  int64_t begin = sequence.trunk_tokens;
  if (sequence.chunk_layers > 0) {
    work += TrunkWork(shape, begin, sequence.chunk_end, shape.trunk_layers - sequence.chunk_layers);
    begin = sequence.chunk_end;
  }
  work += PrefillWork(shape, begin);
  return cost_.Seconds(work);
}

// A second waited counts as a second less to do.
bool Scheduler::Before(const Sequence& a, const Sequence& b, absl::Time now) const {
  if (a.shape.priority != b.shape.priority) return a.shape.priority > b.shape.priority;
  if (!options_.shortest_first) return false;
  const auto left = [&](const Sequence& s) {
    return Remaining(s) - absl::ToDoubleSeconds(now - std::min(now, s.seen_at));
  };
  return left(a) < left(b);
}

std::vector<Sequence*>::iterator Scheduler::Next(absl::Time now) {
  return std::min_element(waiting_.begin(), waiting_.end(), [&](Sequence* a, Sequence* b) {
    if (a->shape.priority == b->shape.priority && a->shape.client != b->shape.client) {
      const double left = clients_.at(a->shape.client).served,
                   right = clients_.at(b->shape.client).served;
      if (left != right) return left < right;
    }
    return Before(*a, *b, now);
  });
}

void Scheduler::Charge(const std::string& client, double seconds) {
  clients_.at(client).served += seconds;
  int64_t here = 0;
  for (const auto& [name, other] : clients_) here += other.sequences > 0;
  virtual_ += seconds / static_cast<double>(std::max<int64_t>(1, here));
}

void Scheduler::ForgetClients() {
  std::erase_if(clients_, [&](const auto& entry) {
    return entry.second.sequences == 0 && entry.second.served <= virtual_;
  });
  // Nobody is here to be compared with: debts are void.
  if (waiting_.empty() && running_.empty()) clients_.clear();
}

// Blocks that admission promises, those that it shares included.
int64_t Scheduler::Promised(const Sequence& sequence) const {
  if (sequence.shape.prefix_only) return sequence.blocks_needed;
  return BlocksFor(sequence.shape, std::min(sequence.shape.max_new_tokens, sequence.promised_new),
                   options_.block_tokens);
}

void Scheduler::Admit(absl::Time now, StepPlan& plan) {
  for (Sequence* sequence : waiting_) sequence->seen_at = std::min(sequence->seen_at, now);
  while (!waiting_.empty()) {
    const auto next = Next(now);
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
    head.promised_new = std::max(head.promised_new, options_.promised_new_tokens);
    const int64_t promised = Promised(head);
    const auto owed = [&] {
      return promised - static_cast<int64_t>(prefix.size()) * head.shape.trunk_layers;
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
    if (admitted_last_ > absl::InfinitePast() && waiting_.size() > 1) {
      // Only of the time in which somebody waited.
      const absl::Time since = std::max(admitted_last_, waiting_.front()->seen_at);
      admission_interval_ = (3 * admission_interval_ + (now - since)) / 4;
    }
    admitted_last_ = now;
    waiting_.erase(next);
    --clients_.at(head.shape.client).waiting;
    waiting_tokens_ -= head.shape.prompt_tokens;
    running_.push_back(&head);
    ++prefilling_;
    Start(head, prefix, now);
    Charge(head.shape.client, Remaining(head));
  }
}

void Scheduler::Start(Sequence& sequence, const std::vector<PrefixNode*>& prefix, absl::Time now) {
  const SequenceShape& shape = sequence.shape;
  sequence.phase = Phase::kTrunk;
  sequence.admitted_at = now;
  sequence.admission = ++admissions_;
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
  sequence.owed = Promised(sequence) - sequence.cached_blocks * shape.trunk_layers;
  if (shape.prefix_only) sequence.owed -= sequence.cached_blocks * StateBlocks(shape);
  Owed(sequence) += sequence.owed;
  if (sequence.trunk_tokens == shape.prompt_tokens) EndTrunk(sequence);
}

// Nobody waits: alone, any sequence that Add took would have been admitted.
void Scheduler::StartIdle(absl::Time now) {
  Sequence& first = *idle_.front();
  first.promised_new = first.shape.max_new_tokens;
  if (first.phase == Phase::kWaiting) Start(first, {}, now);
}

bool Scheduler::MakeRoom(Sequence& sequence, int64_t missing, StepPlan& plan) {
  while (missing - sequence.owed > Spare()) {
    if (!idle_.empty() && idle_.front()->phase != Phase::kWaiting && !sequence.idle) {
      DropIdle(plan);
      continue;
    }
    Sequence* victim = &sequence;
    for (Sequence* other : running_) {
      if (other->shape.priority < victim->shape.priority ||
          (other->shape.priority == victim->shape.priority &&
           other->admission > victim->admission)) {
        victim = other;
      }
    }
    Preempt(*victim, plan);
    if (victim == &sequence) return false;
  }
  return true;
}

// Back to the queue, where it has not waited less for having run.
void Scheduler::Preempt(Sequence& sequence, StepPlan& plan) {
  if (sequence.phase == Phase::kTrunk || sequence.phase == Phase::kSkipping) --prefilling_;
  GiveBlocks(sequence);
  // Or it would be back here at the same token.
  sequence.promised_new = std::max(
      sequence.promised_new,
      std::min(sequence.shape.max_new_tokens, sequence.decoded + 1 + options_.promised_new_tokens));
  sequence.phase = Phase::kWaiting;
  sequence.admitted_at = absl::InfiniteFuture();
  sequence.trunk_tokens = sequence.decoded = sequence.cached_blocks = 0;
  sequence.chunk_layers = 0;
  sequence.skip = {};
  sequence.planned = false;
  std::erase(running_, &sequence);
  const auto place = std::find_if(waiting_.begin(), waiting_.end(), [&](const Sequence* other) {
    return other->arrival > sequence.arrival;
  });
  waiting_.insert(place, &sequence);
  waiting_tokens_ += sequence.shape.prompt_tokens;
  ++clients_.at(sequence.shape.client).waiting;
  plan.preempted.push_back(sequence.id);
}

absl::Duration Scheduler::TimeToDrain() const {
  return admission_interval_ * static_cast<double>((waiting_.size() + 1) / 2);
}

// The one that runs; those behind it hold nothing.
void Scheduler::DropIdle(StepPlan& plan) {
  const SequenceId id = idle_.front()->id;
  plan.dropped.push_back(id);
  Remove(id);
}

}  // namespace skipserve
