// Admission, planning and committing. Blocks are promised as a count at admission and taken from
// the pool only by the plan that writes to them. Not thread-safe.
#include "scheduler/scheduler.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "scheduler/prefill_work.h"
#include "scheduler/shape.h"

namespace skipserve {

absl::Status Scheduler::CheckOptions(const Options& options) {
  struct {
    absl::string_view name;
    bool ok;
  } const checks[] = {
      {"num_blocks",
       options.num_blocks >= 1 && options.num_blocks <= std::numeric_limits<BlockId>::max()},
      {"block_tokens", options.block_tokens >= 1},
      {"layers", options.layers >= 1},
      {"max_running", options.max_running >= 1},
      {"max_prefilling", options.max_prefilling >= 1},
      {"max_queue", options.max_queue >= 1},
      {"max_idle", options.max_idle >= 0},
      {"min_chunk_tokens", options.min_chunk_tokens >= 1},
      {"chunk_tokens", options.chunk_tokens >= options.min_chunk_tokens},
      {"busy_step_flops", options.busy_step_flops >= 0},  // false for NaN
      {"idle_step_flops", options.idle_step_flops >= 0},
  };
  for (const auto& check : checks) {
    if (!check.ok) {
      return absl::InvalidArgumentError(
          absl::StrCat("scheduler option ", check.name, " is out of range"));
    }
  }
  return absl::OkStatus();
}

Scheduler::Scheduler(Options options)
    : options_(options),
      options_status_(CheckOptions(options)),
      pool_(options_status_.ok() ? options.num_blocks : 0) {}

int64_t Scheduler::BlocksNeeded(const SequenceShape& shape) const {
  return BlocksFor(shape, options_.block_tokens);
}

absl::Status Scheduler::CheckNew(SequenceId id, const SequenceShape& shape) const {
  if (!options_status_.ok()) return options_status_;
  if (absl::Status status = CheckShape(shape, options_.layers); !status.ok()) return status;
  if (sequences_.count(id) != 0) {
    return absl::AlreadyExistsError(absl::StrCat("sequence ", id, " is already there"));
  }
  const int64_t needed = BlocksNeeded(shape);
  if (needed > pool_.total()) {
    return absl::ResourceExhaustedError(
        absl::StrCat(kNeverFits, "a prompt of ", shape.prompt_tokens, " tokens and up to ",
                     shape.max_new_tokens, " new ones need ", needed, " KV blocks of ",
                     options_.block_tokens, " tokens; there are ", pool_.total()));
  }
  return absl::OkStatus();
}

Sequence& Scheduler::Record(SequenceId id, SequenceShape shape) {
  Sequence& sequence = sequences_[id];
  sequence.id = id;
  sequence.blocks_needed = BlocksNeeded(shape);
  sequence.shape = std::move(shape);
  return sequence;
}

absl::Status Scheduler::Add(SequenceId id, SequenceShape shape) {
  if (absl::Status status = CheckNew(id, shape); !status.ok()) return status;
  if (waiting_.size() >= static_cast<size_t>(options_.max_queue)) {
    return absl::ResourceExhaustedError(absl::StrCat(kQueueFull, waiting_.size(),
                                                     " requests are waiting, at most ",
                                                     options_.max_queue, " may; try again later"));
  }
  waiting_.push_back(&Record(id, std::move(shape)));
  return absl::OkStatus();
}

absl::Status Scheduler::AddIdle(SequenceId id, SequenceShape shape) {
  if (absl::Status status = CheckNew(id, shape); !status.ok()) return status;
  if (idle_.size() >= static_cast<size_t>(options_.max_idle)) {
    return absl::ResourceExhaustedError(absl::StrCat(kQueueFull, idle_.size(),
                                                     " idle sequences are there, at most ",
                                                     options_.max_idle, " may"));
  }
  Sequence& sequence = Record(id, std::move(shape));
  sequence.idle = true;
  idle_.push_back(&sequence);
  return absl::OkStatus();
}

bool Scheduler::Remove(SequenceId id) {
  auto found = sequences_.find(id);
  if (found == sequences_.end()) return false;
  Sequence& sequence = found->second;
  if (sequence.idle) {
    idle_.erase(std::find(idle_.begin(), idle_.end(), &sequence));
    for (BlockTable& table : sequence.tables) pool_.Give(table);
    if (sequence.phase != Phase::kWaiting) idle_reserved_ = 0;
  } else if (sequence.phase == Phase::kWaiting) {
    waiting_.erase(std::find(waiting_.begin(), waiting_.end(), &sequence));
  } else {
    running_.erase(std::find(running_.begin(), running_.end(), &sequence));
    if (sequence.phase != Phase::kDecode) --prefilling_;
    for (BlockTable& table : sequence.tables) pool_.Give(table);
    reserved_ -= sequence.blocks_needed;
  }
  sequences_.erase(found);
  return true;
}

StepPlan Scheduler::Plan(absl::Time now) {
  StepPlan plan;
  Admit(now, plan);
  for (Sequence* sequence : running_) sequence->planned = false;
  if (!idle_.empty()) idle_.front()->planned = false;
  if (!running_.empty()) {
    PlanDecodes(running_, plan);
    PlanPrefills(running_,
                 plan.decodes.empty() ? options_.idle_step_flops : options_.busy_step_flops, plan);
  } else if (!idle_.empty()) {
    // Nobody waits either: alone, any sequence that Add took would have been admitted.
    Sequence& first = *idle_.front();
    if (first.phase == Phase::kWaiting) {
      idle_reserved_ = first.blocks_needed;
      Start(first, now);
    }
    PlanDecodes({&first}, plan);
    PlanPrefills({&first}, options_.busy_step_flops, plan);
  }
  return plan;
}

void Scheduler::Admit(absl::Time now, StepPlan& plan) {
  while (!waiting_.empty()) {
    Sequence& head = *waiting_.front();
    // Whoever is behind the head waits too, even if small: else a large request might never start.
    if (running_.size() >= static_cast<size_t>(options_.max_running) ||
        prefilling_ >= options_.max_prefilling || head.blocks_needed > pool_.total() - reserved_) {
      return;
    }
    waiting_.pop_front();
    running_.push_back(&head);
    ++prefilling_;
    reserved_ += head.blocks_needed;
    if (reserved_ + idle_reserved_ > pool_.total()) DropIdle(plan);
    Start(head, now);
  }
}

void Scheduler::Start(Sequence& sequence, absl::Time now) {
  sequence.phase = Phase::kTrunk;
  sequence.admitted_at = now;
  sequence.tables.resize(options_.layers);
  for (int32_t l = 0; l < options_.layers; ++l) {
    sequence.tables[l].blocks.reserve(BlocksFor(KvLimit(sequence.shape, l), options_.block_tokens));
  }
}

// The one that runs; those behind it hold nothing.
void Scheduler::DropIdle(StepPlan& plan) {
  const SequenceId id = idle_.front()->id;
  plan.dropped.push_back(id);
  Remove(id);
}

void Scheduler::PlanDecodes(const std::vector<Sequence*>& sequences, StepPlan& plan) {
  plan.decodes.reserve(sequences.size());
  for (Sequence* sequence : sequences) {
    if (sequence->phase != Phase::kDecode) continue;
    bool covered = true;
    for (int32_t l = 0; l < options_.layers && covered; ++l) {
      covered = Cover(*sequence, l, sequence->kv_tokens(l) + 1);
    }
    if (!covered) continue;
    plan.decodes.push_back({sequence->id});
    sequence->planned = true;
  }
}

void Scheduler::PlanPrefills(const std::vector<Sequence*>& sequences, double left, StepPlan& plan) {
  for (Sequence* sequence : sequences) {
    const SequenceShape& shape = sequence->shape;
    const bool first = plan.trunks.empty() && plan.skips.empty();
    if (sequence->phase == Phase::kTrunk) {
      const int64_t begin = sequence->trunk_tokens;
      const PrefillPiece chunk =
          NextChunk(shape, begin, options_.min_chunk_tokens, options_.chunk_tokens, left);
      if (!first && chunk.flops > left) continue;
      if (!Cover(*sequence, 0, shape.trunk_layers, chunk.end)) continue;
      plan.trunks.push_back({sequence->id, begin, chunk.end});
      sequence->planned = true;
      left -= chunk.flops;
    } else if (sequence->phase == Phase::kSkipping) {
      const int32_t begin = sequence->layers_done;
      const PrefillPiece slice = NextSlice(shape, begin, left);
      if (!first && slice.flops > left) continue;
      const int32_t end = static_cast<int32_t>(slice.end);
      bool covered = true;
      for (int32_t l = begin; l < end && covered; ++l) {
        covered = Cover(*sequence, l, shape.kv_prompt_tokens[l]);
      }
      if (!covered) continue;
      plan.skips.push_back({sequence->id, begin, end});
      sequence->planned = true;
      left -= slice.flops;
    }
  }
}

bool Scheduler::Cover(Sequence& sequence, int32_t layer, int64_t tokens) {
  BlockTable& table = sequence.tables[layer];
  const int64_t have = static_cast<int64_t>(table.blocks.size());
  const int64_t missing = BlocksFor(tokens, options_.block_tokens) - have;
  // Within the limit the pool cannot run out: what was reserved is in it.
  if (tokens > KvLimit(sequence.shape, layer) || (missing > 0 && !pool_.Take(missing, table))) {
    sequence.over_limit = true;
    return false;
  }
  return true;
}

bool Scheduler::Cover(Sequence& sequence, int32_t layer_begin, int32_t layer_end, int64_t tokens) {
  for (int32_t l = layer_begin; l < layer_end; ++l) {
    if (!Cover(sequence, l, tokens)) return false;
  }
  return true;
}

void Scheduler::Commit(const StepPlan& plan) {
  for (const DecodeItem& item : plan.decodes) {
    if (Sequence* sequence = TakePlanned(item.id, Phase::kDecode)) ++sequence->decoded;
  }
  for (const TrunkItem& item : plan.trunks) {
    Sequence* sequence = TakePlanned(item.id, Phase::kTrunk);
    if (sequence == nullptr) continue;
    sequence->trunk_tokens = item.token_end;
    if (item.token_end < sequence->shape.prompt_tokens) continue;
    if (sequence->shape.trunk_layers < options_.layers) {
      sequence->phase = Phase::kSkipping;
      sequence->layers_done = sequence->shape.trunk_layers;
    } else {
      EndPrefill(*sequence);
    }
  }
  for (const SkipItem& item : plan.skips) {
    Sequence* sequence = TakePlanned(item.id, Phase::kSkipping);
    if (sequence == nullptr) continue;
    sequence->layers_done = item.layer_end;
    if (item.layer_end == options_.layers) EndPrefill(*sequence);
  }
}

Sequence* Scheduler::TakePlanned(SequenceId id, Phase phase) {
  auto found = sequences_.find(id);
  if (found == sequences_.end()) return nullptr;
  Sequence& sequence = found->second;
  if (!sequence.planned || sequence.phase != phase) return nullptr;
  sequence.planned = false;
  return &sequence;
}

void Scheduler::EndPrefill(Sequence& sequence) {
  sequence.phase = Phase::kDecode;
  if (!sequence.idle) --prefilling_;
}

Scheduler::Phase Scheduler::phase(SequenceId id) const { return sequences_.at(id).phase; }

const std::vector<BlockTable>& Scheduler::tables(SequenceId id) const {
  return sequences_.at(id).tables;
}

int64_t Scheduler::kv_tokens(SequenceId id, int32_t layer) const {
  return sequences_.at(id).kv_tokens(layer);
}

absl::Time Scheduler::admitted_at(SequenceId id) const { return sequences_.at(id).admitted_at; }

Scheduler::Load Scheduler::load() const {
  Load load;
  load.waiting = static_cast<int64_t>(waiting_.size());
  load.prefilling = prefilling_;
  load.decoding = static_cast<int64_t>(running_.size()) - prefilling_;
  load.blocks_total = pool_.total();
  load.blocks_used = pool_.used();
  load.blocks_reserved = reserved_ + idle_reserved_;
  load.blocks_by_layer.resize(options_.layers);
  for (const auto& [id, sequence] : sequences_) {
    for (size_t l = 0; l < sequence.tables.size(); ++l) {
      load.blocks_by_layer[l] += static_cast<int64_t>(sequence.tables[l].blocks.size());
    }
  }
  return load;
}

bool Scheduler::idle() const { return sequences_.empty(); }

}  // namespace skipserve
