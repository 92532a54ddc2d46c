// What one step computes.
#include <algorithm>
#include <optional>

#include "scheduler/prefill_work.h"
#include "scheduler/scheduler.h"
#include "scheduler/shape.h"

namespace skipserve {

StepPlan Scheduler::Plan(absl::Time now) {
  StepPlan plan;
  Admit(now, plan);
  for (Sequence* sequence : running_) sequence->planned = false;
  if (!idle_.empty()) idle_.front()->planned = false;
  if (!running_.empty()) {
    // Those who are to be preempted last take their blocks first.
    std::vector<Sequence*> decodes = running_;
    std::stable_sort(decodes.begin(), decodes.end(), [](const Sequence* a, const Sequence* b) {
      return a->shape.priority > b->shape.priority;
    });
    PlanDecodes(decodes, plan);
    std::vector<Sequence*> prefills;
    for (Sequence* s : running_) {
      if (s->phase == Phase::kTrunk || s->phase == Phase::kSkipping) prefills.push_back(s);
    }
    std::stable_sort(prefills.begin(), prefills.end(),
                     [&](const Sequence* a, const Sequence* b) { return Before(*a, *b, now); });
    const double left = plan.decodes.empty()
                            ? options_.idle_step_seconds
                            : options_.busy_step_seconds - cost_.Seconds(plan.work);
    PlanPrefills(prefills, left, plan);
  } else if (!idle_.empty()) {
    StartIdle(now);
    PlanDecodes({idle_.front()}, plan);
    PlanPrefills({idle_.front()}, options_.busy_step_seconds, plan);
  }
  return plan;
}

void Scheduler::PlanDecodes(const std::vector<Sequence*>& sequences, StepPlan& plan) {
  plan.decodes.reserve(sequences.size());
  for (Sequence* sequence : sequences) {
    if (sequence->phase != Phase::kDecode) continue;
    int64_t missing = 0;
    for (int32_t l = 0; l < options_.layers; ++l) {
      missing += Missing(*sequence, l, sequence->kv_tokens(l) + 1);
    }
    if (sequence->kv_tokens(0) + 1 <= KvLimit(sequence->shape, 0) &&
        !MakeRoom(*sequence, missing, plan)) {
      continue;
    }
    bool covered = true;
    for (int32_t l = 0; l < options_.layers && covered; ++l) {
      covered = Cover(*sequence, l, sequence->kv_tokens(l) + 1);
    }
    if (!covered) continue;
    plan.decodes.push_back({sequence->id});
    plan.work[WorkKind::kDecodePass] = 1;
    plan.work[WorkKind::kDecodeRow] += 1;
    for (int32_t l = 0; l < options_.layers; ++l) {
      plan.work[WorkKind::kDecodeKv] += static_cast<double>(sequence->kv_tokens(l));
    }
    sequence->planned = true;
  }
}

void Scheduler::PlanPrefills(const std::vector<Sequence*>& sequences, double left, StepPlan& plan) {
  for (Sequence* sequence : sequences) {
    const std::optional<double> seconds =
        sequence->phase == Phase::kTrunk      ? PlanTrunk(*sequence, left, plan)
        : sequence->phase == Phase::kSkipping ? PlanSlice(*sequence, left, plan)
                                              : std::nullopt;
    if (!seconds.has_value()) continue;
    sequence->planned = true;
    left -= *seconds;
  }
}

std::optional<double> Scheduler::PlanTrunk(Sequence& sequence, double left, StepPlan& plan) {
  const bool first = plan.trunks.empty() && plan.skips.empty();
  const SequenceShape& shape = sequence.shape;
  const TrunkPoint at = {sequence.trunk_tokens, sequence.chunk_end, sequence.chunk_layers};
  const TrunkPiece piece =
      NextChunk(shape, at, options_.min_chunk_tokens, options_.chunk_tokens, left, cost_);
  if (!first && piece.seconds > left) return std::nullopt;
  for (int32_t l = at.layer; l < piece.layer_end; ++l) {
    if (!Cover(sequence, l, piece.token_end)) return std::nullopt;
  }
  TrunkItem item;
  item.id = sequence.id;
  item.token_begin = at.begin;
  item.token_end = piece.token_end;
  item.layer_begin = at.layer;
  item.layer_end = piece.layer_end;
  if (piece.layer_end == shape.trunk_layers) {
    CoverStates(sequence, piece.token_end);
    item.first_state_block = static_cast<int64_t>(sequence.prefix.size());
    item.states = sequence.states;
    // A step that failed may have covered more than this one.
    const int64_t full = piece.token_end / options_.block_tokens - item.first_state_block;
    item.states.resize(std::min<int64_t>(static_cast<int64_t>(item.states.size()),
                                         std::max<int64_t>(0, full) * StateBlocks(shape)));
  }
  plan.trunks.push_back(std::move(item));
  plan.work += piece.work;
  return piece.seconds;
}

std::optional<double> Scheduler::PlanSlice(Sequence& sequence, double left, StepPlan& plan) {
  const bool first = plan.trunks.empty() && plan.skips.empty();
  const SkipPoint begin = sequence.skip;
  const SkipPiece slice = NextSlice(sequence.shape, begin, options_.min_slice_rows, left, cost_);
  if (!first && slice.seconds > left) return std::nullopt;
  for (int32_t l = begin.layer; l <= std::min(slice.end.layer, options_.layers - 1); ++l) {
    const int64_t rows = sequence.shape.kv_prompt_tokens[l];
    if (!Cover(sequence, l, l < slice.end.layer ? rows : std::min(rows, slice.end.row))) {
      return std::nullopt;
    }
  }
  plan.skips.push_back({sequence.id, begin, slice.end});
  plan.work += slice.work;
  return slice.seconds;
}

int64_t Scheduler::Missing(const Sequence& sequence, int32_t layer, int64_t tokens) const {
  const auto have = static_cast<int64_t>(sequence.tables[layer].blocks.size());
  return std::max<int64_t>(0, BlocksFor(tokens, options_.block_tokens) - have);
}

bool Scheduler::Cover(Sequence& sequence, int32_t layer, int64_t tokens) {
  const int64_t missing = Missing(sequence, layer, tokens);
  const int64_t promised = std::min(missing, sequence.owed);
  // Within its limit the pool cannot run out: what was promised is in it, and room has been made
  // for the rest.
  if (tokens > KvLimit(sequence.shape, layer) || missing - promised > Spare() ||
      !Take(missing, sequence.tables[layer].blocks)) {
    sequence.over_limit = true;
    return false;
  }
  sequence.owed -= promised;
  Owed(sequence) -= promised;
  return true;
}

}  // namespace skipserve
