// Who is there, and what has run. Admission is in admission.cc, planning in planning.cc, the prefix
// cache's part in sharing.cc. Not thread-safe.
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
      {"min_slice_rows", options.min_slice_rows >= 1},
      {"busy_step_seconds", options.busy_step_seconds >= 0},  // false for NaN
      {"idle_step_seconds", options.idle_step_seconds >= 0},
      {"state_blocks", options.state_blocks >= 0},
      {"max_queue_tokens", options.max_queue_tokens >= 1},
      {"max_pinned_blocks", options.max_pinned_blocks >= 0},
      {"promised_new_tokens", options.promised_new_tokens >= 1},
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
      pool_(options_status_.ok() ? options.num_blocks : 0),
      cost_(options.cost) {}

int64_t Scheduler::StateBlocks(const SequenceShape& shape) const {
  return shape.trunk_layers < options_.layers ? options_.state_blocks : 0;
}

int64_t Scheduler::BlocksNeeded(const SequenceShape& shape) const {
  const int64_t kv = BlocksFor(shape, shape.max_new_tokens, options_.block_tokens);
  if (!shape.prefix_only) return kv;
  return kv + StateBlocks(shape) * static_cast<int64_t>(shape.prefix_keys.size());
}

absl::Status Scheduler::CheckNew(SequenceId id, const SequenceShape& shape) const {
  if (!options_status_.ok()) return options_status_;
  if (absl::Status status = CheckShape(shape, options_.layers); !status.ok()) return status;
  if (sequences_.count(id) != 0) {
    return absl::AlreadyExistsError(absl::StrCat("sequence ", id, " is already there"));
  }
  const int64_t needed = BlocksNeeded(shape);
  int64_t pinned = prefixes_.pinned_blocks();
  for (const PrefixNode* node : Match(shape)) {
    if (node->pins > 0) pinned -= static_cast<int64_t>(node->kv.size());
  }
  if (needed > pool_.total() - pinned) {
    return absl::ResourceExhaustedError(absl::StrCat(
        kNeverFits, "a prompt of ", shape.prompt_tokens, " tokens and up to ", shape.max_new_tokens,
        " new ones need ", needed, " KV blocks of ", options_.block_tokens, " tokens; there are ",
        pool_.total(), pinned > 0 ? absl::StrCat(", of which pinned prefixes hold ", pinned) : ""));
  }
  return absl::OkStatus();
}

// What of the prompt need not be computed. A dense prompt's last token must be, for its logits.
std::vector<PrefixNode*> Scheduler::Match(const SequenceShape& shape) const {
  const bool dense = shape.trunk_layers == options_.layers && !shape.prefix_only;
  return prefixes_.Match(shape.prefix_keys,
                         (shape.prompt_tokens - (dense ? 1 : 0)) / options_.block_tokens);
}

Sequence& Scheduler::Record(SequenceId id, SequenceShape shape) {
  Sequence& sequence = sequences_[id];
  sequence.id = id;
  sequence.arrival = ++arrivals_;
  sequence.blocks_needed = BlocksNeeded(shape);
  sequence.shape = std::move(shape);
  return sequence;
}

absl::Status Scheduler::CheckQueue(const SequenceShape& shape) const {
  const auto waiting = static_cast<int64_t>(waiting_.size());
  if (waiting >= options_.max_queue) {
    return absl::ResourceExhaustedError(absl::StrCat(kQueueFull, waiting,
                                                     " requests are waiting, at most ",
                                                     options_.max_queue, " may; try again later"));
  }
  const auto client = clients_.find(shape.client);
  if (!shape.client.empty() && client != clients_.end() &&
      client->second.waiting >= options_.max_queue - waiting) {
    return absl::ResourceExhaustedError(absl::StrCat(
        kQueueFull, client->second.waiting, " requests of this client are waiting, and the ",
        options_.max_queue - waiting, " places left are for others; try again later"));
  }
  if (!waiting_.empty() && shape.prompt_tokens > options_.max_queue_tokens - waiting_tokens_) {
    return absl::ResourceExhaustedError(absl::StrCat(
        kQueueFull, "prompts of ", waiting_tokens_, " tokens are waiting, and with this one's ",
        shape.prompt_tokens, " they would be more than the ", options_.max_queue_tokens,
        " that may; try again later"));
  }
  return absl::OkStatus();
}

absl::Status Scheduler::Add(SequenceId id, SequenceShape shape) {
  if (absl::Status status = CheckNew(id, shape); !status.ok()) return status;
  if (absl::Status status = CheckQueue(shape); !status.ok()) return status;
  waiting_tokens_ += shape.prompt_tokens;
  Client& client = clients_[shape.client];
  if (client.waiting++ == 0) client.served = std::max(client.served, virtual_);
  ++client.sequences;
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
  const auto found = sequences_.find(id);
  if (found == sequences_.end()) return false;
  Sequence& sequence = found->second;
  GiveBlocks(sequence);
  if (sequence.idle) {
    std::erase(idle_, &sequence);
  } else if (sequence.phase == Phase::kWaiting) {
    std::erase(waiting_, &sequence);
    waiting_tokens_ -= sequence.shape.prompt_tokens;
    --clients_.at(sequence.shape.client).waiting;
  } else {
    std::erase(running_, &sequence);
    if (sequence.phase == Phase::kTrunk || sequence.phase == Phase::kSkipping) --prefilling_;
  }
  if (!sequence.idle) --clients_.at(sequence.shape.client).sequences;
  sequences_.erase(found);
  ForgetClients();
  return true;
}

void Scheduler::Commit(const StepPlan& plan) {
  Work decode;
  for (WorkKind kind : {WorkKind::kDecodePass, WorkKind::kDecodeRow, WorkKind::kDecodeKv}) {
    decode[kind] = plan.work[kind];
  }
  for (const DecodeItem& item : plan.decodes) {
    Sequence* sequence = TakePlanned(item.id, Phase::kDecode);
    if (sequence == nullptr) continue;
    ++sequence->decoded;
    if (sequence->idle) continue;
    Charge(sequence->shape.client,
           cost_.Seconds(decode) / static_cast<double>(plan.decodes.size()));
  }
  for (const TrunkItem& item : plan.trunks) {
    Sequence* sequence = TakePlanned(item.id, Phase::kTrunk);
    if (sequence == nullptr) continue;
    const bool whole = item.layer_end == sequence->shape.trunk_layers;
    sequence->chunk_end = item.token_end;
    sequence->chunk_layers = whole ? 0 : item.layer_end;
    if (!whole) continue;
    sequence->trunk_tokens = item.token_end;
    Publish(*sequence);
    if (item.token_end == sequence->shape.prompt_tokens) EndTrunk(*sequence);
  }
  for (const SkipItem& item : plan.skips) {
    Sequence* sequence = TakePlanned(item.id, Phase::kSkipping);
    if (sequence == nullptr) continue;
    sequence->skip = item.end;
    if (item.end.layer == options_.layers) EndPrefill(*sequence, Phase::kDecode);
  }
}

void Scheduler::Observe(const Work& work, absl::Duration duration) {
  cost_.Observe(work, absl::ToDoubleSeconds(duration));
}

Sequence* Scheduler::TakePlanned(SequenceId id, Phase phase) {
  auto found = sequences_.find(id);
  if (found == sequences_.end()) return nullptr;
  Sequence& sequence = found->second;
  if (!sequence.planned || sequence.phase != phase) return nullptr;
  sequence.planned = false;
  return &sequence;
}

void Scheduler::EndTrunk(Sequence& sequence) {
  if (sequence.shape.prefix_only) {
    EndPrefill(sequence, Phase::kDone);
  } else if (sequence.shape.trunk_layers < options_.layers) {
    sequence.phase = Phase::kSkipping;
    sequence.skip = {sequence.shape.trunk_layers, 0};
  } else {
    EndPrefill(sequence, Phase::kDecode);
  }
}

void Scheduler::EndPrefill(Sequence& sequence, Phase phase) {
  sequence.phase = phase;
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

Scheduler::Cached Scheduler::cached(SequenceId id) const {
  const Sequence& sequence = sequences_.at(id);
  Cached cached;
  cached.tokens = sequence.cached_blocks * options_.block_tokens;
  for (int64_t i = 0; i < sequence.cached_blocks; ++i) {
    const std::vector<BlockId>& states = sequence.prefix[i]->states;
    cached.states.insert(cached.states.end(), states.begin(), states.end());
  }
  return cached;
}

double Scheduler::RemainingSeconds(SequenceId id) const {
  const Sequence& sequence = sequences_.at(id);
  if (sequence.phase != Phase::kWaiting) return Remaining(sequence);
  return PrefillSeconds(sequence.shape);
}

double Scheduler::PrefillSeconds(const SequenceShape& shape) const {
  const auto cached = static_cast<int64_t>(Match(shape).size()) * options_.block_tokens;
  return cost_.Seconds(PrefillWork(shape, cached));
}

Scheduler::Load Scheduler::load() const {
  Load load;
  load.waiting = static_cast<int64_t>(waiting_.size());
  load.prefilling = prefilling_;
  load.decoding = static_cast<int64_t>(running_.size()) - prefilling_;
  load.blocks_total = pool_.total();
  load.blocks_cached = prefixes_.evictable_blocks();
  load.blocks_used = pool_.used() - load.blocks_cached;
  load.blocks_reserved = load.blocks_used + owed_ + idle_owed_;
  load.prefix_tokens = static_cast<int64_t>(prefixes_.nodes().size()) * options_.block_tokens;
  load.prefix_evictions = prefixes_.evictions();
  // Blocks that several share count once.
  load.blocks_by_layer.resize(options_.layers);
  for (const auto& [id, sequence] : sequences_) {
    const auto shared = static_cast<int64_t>(sequence.prefix.size());
    for (size_t l = 0; l < sequence.tables.size(); ++l) {
      const bool trunk = static_cast<int32_t>(l) < sequence.shape.trunk_layers;
      load.blocks_by_layer[l] +=
          static_cast<int64_t>(sequence.tables[l].blocks.size()) - (trunk ? shared : 0);
    }
  }
  for (const auto& [key, node] : prefixes_.nodes()) {
    for (size_t l = 0; node.holders > 0 && l < node.kv.size(); ++l) ++load.blocks_by_layer[l];
  }
  return load;
}

bool Scheduler::idle() const { return sequences_.empty(); }

}  // namespace skipserve
