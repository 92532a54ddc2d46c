// The rules of scheduler.h as loops over tokens and layers.
#include "simulation_oracle.h"

#include <algorithm>
#include <set>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"

namespace skipserve {
namespace {

template <typename... Args>
absl::Status Wrong(const Args&... args) {
  return absl::InternalError(absl::StrCat(args...));
}

uint64_t SlotValue(uint64_t tag, int32_t layer, int64_t token) {
  return (tag << 40) + (static_cast<uint64_t>(layer) << 32) + static_cast<uint64_t>(token) + 1;
}

}  // namespace

Oracle::Oracle(const Scheduler::Options& options)
    : options_(options), memory_(options.num_blocks * options.block_tokens, 0) {}

int64_t Oracle::Need(const SequenceShape& shape) const {
  int64_t blocks = 0;
  for (int64_t kv : shape.kv_prompt_tokens) {
    for (int64_t t = 0; t < kv + shape.max_new_tokens - 1; t += options_.block_tokens) ++blocks;
  }
  return blocks;
}

Oracle::Answer Oracle::ExpectedAnswer(SequenceId id, const SequenceShape& shape, bool idle) const {
  if (shape.prompt_tokens < 1) return {absl::StatusCode::kInvalidArgument, ""};
  if (Knows(id)) return {absl::StatusCode::kAlreadyExists, ""};
  if (Need(shape) > options_.num_blocks) {
    return {absl::StatusCode::kResourceExhausted, Scheduler::kNeverFits};
  }
  if (idle ? static_cast<int32_t>(idle_.size()) == options_.max_idle
           : static_cast<int32_t>(waiting_.size()) == options_.max_queue) {
    return {absl::StatusCode::kResourceExhausted, Scheduler::kQueueFull};
  }
  return {};
}

void Oracle::Added(SequenceId id, const SequenceShape& shape, bool idle) {
  Record record;
  record.idle = idle;
  record.shape = shape;
  record.skip = {shape.trunk_layers, 0};
  record.tag = ++tags_;
  sequences_[id] = record;
  (idle ? idle_ : waiting_).push_back(id);
}

void Oracle::Removed(SequenceId id) {
  sequences_.erase(id);
  waiting_.erase(std::remove(waiting_.begin(), waiting_.end(), id), waiting_.end());
  running_.erase(std::remove(running_.begin(), running_.end(), id), running_.end());
  idle_.erase(std::remove(idle_.begin(), idle_.end(), id), idle_.end());
}

int64_t Oracle::IdleReserved() const {
  int64_t reserved = 0;
  for (SequenceId id : idle_) {
    if (sequences_.at(id).admitted) reserved += Need(sequences_.at(id).shape);
  }
  return reserved;
}

double Oracle::Remaining(const Record& record) const {
  Record trunk = record;
  double left = 0;
  if (!record.trunk_done()) {
    left += Cost(trunk, record.shape.prompt_tokens);
    if (record.chunk_layers > 0) {
      left -= record.chunk_layers * LayerCost(record, record.trunk, record.chunk_end);
    }
  }
  trunk.trunk = record.shape.prompt_tokens;
  return left + Cost(trunk, Count(record.shape, {record.shape.layers(), 0}));
}

std::vector<SequenceId> Oracle::InOrder(std::vector<SequenceId> ids, absl::Time now) const {
  if (!options_.shortest_first) return ids;
  const auto key = [&](SequenceId id) {
    const Record& record = sequences_.at(id);
    return Remaining(record) - absl::ToDoubleSeconds(now - record.seen);
  };
  std::stable_sort(ids.begin(), ids.end(),
                   [&](SequenceId a, SequenceId b) { return key(a) < key(b); });
  return ids;
}

std::vector<SequenceId> Oracle::AdmitInOrder(absl::Time now) {
  std::vector<SequenceId> dropped;
  for (SequenceId id : waiting_) sequences_[id].seen = std::min(sequences_[id].seen, now);
  int64_t reserved = 0;
  int32_t prefilling = 0;
  for (SequenceId id : running_) {
    reserved += Need(sequences_[id].shape);
    if (!sequences_[id].decoding()) ++prefilling;
  }
  while (!waiting_.empty() && static_cast<int32_t>(running_.size()) < options_.max_running &&
         prefilling < options_.max_prefilling) {
    const SequenceId head = InOrder({waiting_.begin(), waiting_.end()}, now).front();
    if (reserved + Need(sequences_[head].shape) > options_.num_blocks) {
      ++held_back_by_blocks;
      break;
    }
    reserved += Need(sequences_[head].shape);
    ++prefilling;
    sequences_[head].admitted = true;
    running_.push_back(head);
    std::erase(waiting_, head);
    if (reserved + IdleReserved() > options_.num_blocks) {
      dropped.push_back(idle_.front());
      Removed(idle_.front());
      ++idle_drops;
    }
  }
  active_ = running_;
  if (running_.empty() && waiting_.empty() && !idle_.empty()) {
    sequences_[idle_.front()].admitted = true;
    active_ = {idle_.front()};
    ++idle_steps;
  } else if (IdleReserved() > 0) {
    ++idle_waits;
  }
  return dropped;
}

absl::Status Oracle::CheckPlan(const Scheduler& scheduler, const StepPlan& plan, absl::Time now) {
  if (AdmitInOrder(now) != plan.dropped) {
    return Wrong(plan.dropped.size(), " idle sequences dropped, other than expected");
  }
  if (absl::Status status = CheckState(scheduler); !status.ok()) return status;
  if (plan.empty() && !sequences_.empty()) return Wrong("an empty plan with work to do");
  if (absl::Status status = CheckDecodes(plan); !status.ok()) return status;
  return CheckPrefills(plan, now);
}

absl::Status Oracle::CheckDecodes(const StepPlan& plan) const {
  std::multiset<SequenceId> expected;
  std::multiset<SequenceId> planned;
  for (SequenceId id : active_) {
    if (sequences_.at(id).decoding()) expected.insert(id);
  }
  for (const DecodeItem& item : plan.decodes) planned.insert(item.id);
  if (planned == expected) return absl::OkStatus();
  return Wrong(planned.size(), " decodes planned, other than the ", expected.size(), " expected");
}

// A layer's rows twice, once to attend and once to feed forward; a layer of none counts as one.
int64_t Oracle::Count(const SequenceShape& shape, SkipPoint point) const {
  int64_t count = point.row;
  for (int32_t l = shape.trunk_layers; l < point.layer; ++l) {
    count += std::max<int64_t>(1, 2 * shape.kv_prompt_tokens[l]);
  }
  return count;
}

SkipPoint Oracle::PointAt(const SequenceShape& shape, int64_t count) const {
  SkipPoint point = {shape.trunk_layers, 0};
  for (; count > 0; --count) {
    if (++point.row >= std::max<int64_t>(1, 2 * shape.kv_prompt_tokens[point.layer])) {
      point = {point.layer + 1, 0};
    }
  }
  return point;
}

// Valid ends of a piece, the smallest beyond `end`.
int64_t Oracle::NextEnd(const Record& record, int64_t end) const {
  if (!record.trunk_done()) {
    do {
      ++end;
    } while (end % options_.min_chunk_tokens != 0 && end != record.shape.prompt_tokens);
    return end;
  }
  const int64_t layer = PointAt(record.shape, end).layer;
  while (true) {
    const SkipPoint point = PointAt(record.shape, ++end);
    if (point.layer > layer) return end;
    const int64_t rows = record.shape.kv_prompt_tokens[layer];
    const int64_t done = point.row <= rows ? point.row : point.row - rows;
    if (done % options_.min_slice_rows == 0 || done == rows) return end;
  }
}

// No piece may end beyond.
int64_t Oracle::LastEnd(const Record& record) const {
  if (record.trunk_done()) return Count(record.shape, {record.shape.layers(), 0});
  return std::min(record.trunk + options_.chunk_tokens, record.shape.prompt_tokens);
}

double Oracle::Cost(const Record& record, int64_t end) const {
  const SequenceShape& shape = record.shape;
  double flops = 0;
  if (record.trunk_done()) {
    for (int64_t i = Count(shape, record.skip); i < end; ++i) {
      const SkipPoint point = PointAt(shape, i);
      const SkipLayer& layer = shape.skip_layers[point.layer - shape.trunk_layers];
      if (point.row == 0) flops += layer.key_flops + layer.probe_flops;
      if (layer.rows == 0) continue;
      if (point.row < layer.rows) {
        flops += layer.attention_flops_per_row;
        flops += layer.attention_flops_per_pair * static_cast<double>(point.row + 1);
      } else {
        if (point.row == layer.rows) flops += layer.ffn_probe_flops;
        flops += layer.ffn_flops_per_row;
      }
    }
    return flops;
  }
  return LayerCost(record, record.trunk, end) * shape.trunk_layers;
}

// Of prompt tokens [begin, end) in one layer of the trunk.
double Oracle::LayerCost(const Record& record, int64_t begin, int64_t end) const {
  double flops = 0;
  for (int64_t query = begin; query < end; ++query) {
    flops += record.shape.trunk_flops_per_token;
    flops += record.shape.trunk_flops_per_pair * static_cast<double>(query + 1);
  }
  return flops;
}

// A chunk is as long as a layer of it fits, and goes through as many layers as fit.
absl::Status Oracle::CheckTrunk(const Record& record, const TrunkItem& item, double left,
                                bool first) const {
  int64_t end = record.chunk_end;
  const bool smallest = record.chunk_layers > 0 || item.token_end == NextEnd(record, record.trunk);
  if (record.chunk_layers == 0) {
    end = NextEnd(record, record.trunk);
    while (end < LastEnd(record) && NextEnd(record, end) <= LastEnd(record) &&
           LayerCost(record, record.trunk, NextEnd(record, end)) <= left) {
      end = NextEnd(record, end);
    }
  }
  const int32_t layers = record.shape.trunk_layers;
  const double layer = LayerCost(record, record.trunk, end);
  int32_t layer_end = std::min(layers, record.chunk_layers + 1);
  while (layer_end < layers && (layer_end + 1 - record.chunk_layers) * layer <= left) ++layer_end;
  if (item.token_begin != record.trunk || item.layer_begin != record.chunk_layers ||
      item.token_end != end || item.layer_end != layer_end) {
    return Wrong("a chunk of ", item.id, " is [", item.token_begin, ", ", item.token_end,
                 ") through layers [", item.layer_begin, ", ", item.layer_end, "), not [",
                 record.trunk, ", ", end, ") through [", record.chunk_layers, ", ", layer_end, ")");
  }
  const double cost = layer * (layer_end - record.chunk_layers);
  if (cost > left && (!first || !smallest || layer_end > record.chunk_layers + 1)) {
    return Wrong("budget exceeded by a chunk of sequence ", item.id);
  }
  return absl::OkStatus();
}

absl::Status Oracle::CheckPrefills(const StepPlan& plan, absl::Time now) {
  std::map<SequenceId, Piece> pieces;
  std::map<SequenceId, const TrunkItem*> chunks;
  for (const TrunkItem& item : plan.trunks) {
    if (!pieces.insert({item.id, {item.id, true, item.token_begin, item.token_end}}).second) {
      return Wrong("two trunk items of sequence ", item.id);
    }
    chunks[item.id] = &item;
  }
  for (const SkipItem& item : plan.skips) {
    if (!Knows(item.id)) return Wrong("a slice of nobody, ", item.id);
    const SequenceShape& shape = sequences_[item.id].shape;
    const Piece piece = {item.id, false, Count(shape, item.begin), Count(shape, item.end)};
    if (PointAt(shape, piece.end) != item.end) return Wrong("a slice ends beyond a layer");
    if (!pieces.insert({item.id, piece}).second) {
      return Wrong("trunk and skip, or two skip items of sequence ", item.id);
    }
  }
  if (pieces.size() > 1) ++shared_prefill;
  double left = plan.decodes.empty() && !running_.empty() ? options_.idle_step_seconds
                                                          : options_.busy_step_seconds;
  size_t found = 0;
  for (SequenceId id : InOrder(active_, now)) {
    const Record& record = sequences_[id];
    if (record.decoding()) continue;
    const int64_t begin = record.trunk_done() ? Count(record.shape, record.skip) : record.trunk;
    const int64_t smallest = NextEnd(record, begin);
    auto planned = pieces.find(id);
    if (planned == pieces.end()) {
      if (found == 0) return Wrong("the first prefill, ", id, ", gets nothing");
      const double least =
          record.trunk_done()
              ? Cost(record, smallest)
              : LayerCost(record, begin, record.chunk_layers > 0 ? record.chunk_end : smallest) *
                    std::min(1, record.shape.trunk_layers);
      if (least <= left) return Wrong("budget left over for sequence ", id);
      continue;
    }
    const Piece& piece = planned->second;
    if (piece.trunk && !record.trunk_done()) {
      const TrunkItem& item = *chunks.at(id);
      if (absl::Status status = CheckTrunk(record, item, left, found == 0); !status.ok()) {
        return status;
      }
      const double cost =
          LayerCost(record, item.token_begin, item.token_end) * (item.layer_end - item.layer_begin);
      over_budget += cost > left;
      left -= cost;
      ++found;
      continue;
    }
    if (piece.trunk == record.trunk_done() || piece.begin != begin) {
      return Wrong("sequence ", id, " begins at ", piece.begin, ", is at ", begin);
    }
    int64_t end = smallest;
    while (end < piece.end) end = NextEnd(record, end);
    if (end != piece.end || end > LastEnd(record)) {
      return Wrong("a piece of sequence ", id, " ends at ", piece.end);
    }
    const double cost = Cost(record, end);
    if (cost > left) {
      if (found != 0 || end != smallest) return Wrong("budget exceeded by sequence ", id);
      ++over_budget;
    } else if (end < LastEnd(record) && NextEnd(record, end) <= LastEnd(record) &&
               Cost(record, NextEnd(record, end)) <= left) {
      return Wrong("a piece of sequence ", id, " ends at ", end, " with budget left over");
    }
    left -= cost;
    ++found;
  }
  if (found != pieces.size()) return Wrong("prefill of a sequence that does not prefill");
  return absl::OkStatus();
}

absl::Status Oracle::Run(const Scheduler& scheduler, const StepPlan& plan) {
  absl::Status status;
  for (const DecodeItem& item : plan.decodes) {
    const Record& record = sequences_[item.id];
    for (int32_t l = 0; l < options_.layers; ++l) {
      status.Update(Write(scheduler, item.id, l, Kv(record, l), Kv(record, l) + 1));
    }
  }
  for (const TrunkItem& item : plan.trunks) {
    for (int32_t l = item.layer_begin; l < item.layer_end; ++l) {
      status.Update(Write(scheduler, item.id, l, item.token_begin, item.token_end));
    }
  }
  for (const SkipItem& item : plan.skips) {
    for (int32_t l = item.begin.layer; l <= item.end.layer && l < options_.layers; ++l) {
      const int64_t rows = sequences_[item.id].shape.kv_prompt_tokens[l];
      const int64_t begin = l == item.begin.layer ? std::min(rows, item.begin.row) : 0;
      const int64_t end = l == item.end.layer ? std::min(rows, item.end.row) : rows;
      status.Update(Write(scheduler, item.id, l, begin, end));
    }
  }
  return status;
}

absl::Status Oracle::Write(const Scheduler& scheduler, SequenceId id, int32_t layer, int64_t begin,
                           int64_t end) {
  const std::vector<BlockId>& blocks = scheduler.tables(id)[layer].blocks;
  for (int64_t t = begin; t < end; ++t) {
    const size_t index = t / options_.block_tokens;
    if (index >= blocks.size()) return Wrong("no block for token ", t, " of sequence ", id);
    memory_.at(int64_t{blocks[index]} * options_.block_tokens + t % options_.block_tokens) =
        SlotValue(sequences_[id].tag, layer, t);
  }
  return absl::OkStatus();
}

absl::Status Oracle::CheckMemory(const Scheduler& scheduler, SequenceId id) const {
  const Record& record = sequences_.at(id);
  for (int32_t l = 0; l < options_.layers && record.admitted; ++l) {
    const std::vector<BlockId>& blocks = scheduler.tables(id)[l].blocks;
    if (static_cast<int64_t>(blocks.size()) * options_.block_tokens < Kv(record, l)) {
      return Wrong("the table of sequence ", id, ", layer ", l, " is too short");
    }
    for (int64_t t = 0; t < Kv(record, l); ++t) {
      const int64_t slot = int64_t{blocks[t / options_.block_tokens]} * options_.block_tokens +
                           t % options_.block_tokens;
      if (memory_[slot] != SlotValue(record.tag, l, t)) {
        return Wrong("token ", t, " of sequence ", id, ", layer ", l, " was overwritten");
      }
    }
  }
  return absl::OkStatus();
}

void Oracle::Committed(const StepPlan& plan) {
  auto record = [&](SequenceId id) {
    auto found = sequences_.find(id);
    return found != sequences_.end() && found->second.admitted ? &found->second : nullptr;
  };
  for (const DecodeItem& item : plan.decodes) {
    if (Record* r = record(item.id)) ++r->decoded;
  }
  for (const TrunkItem& item : plan.trunks) {
    Record* r = record(item.id);
    if (r == nullptr) continue;
    r->chunk_end = item.token_end;
    r->chunk_layers = item.layer_end;
    if (item.layer_end < r->shape.trunk_layers) continue;
    r->trunk = item.token_end;
    r->chunk_layers = 0;
  }
  for (const SkipItem& item : plan.skips) {
    if (Record* r = record(item.id)) r->skip = item.end;
  }
}

int64_t Oracle::Kv(const Record& record, int32_t layer) const {
  if (layer < record.chunk_layers) return record.chunk_end;
  if (layer < record.shape.trunk_layers) return record.trunk + record.decoded;
  const int64_t rows = record.shape.kv_prompt_tokens[layer];
  if (!record.trunk_done() || layer > record.skip.layer) return 0;
  return (layer == record.skip.layer ? std::min(rows, record.skip.row) : rows) + record.decoded;
}

absl::Status Oracle::CheckState(const Scheduler& scheduler) const {
  using Phase = Scheduler::Phase;
  for (const auto& [id, record] : sequences_) {
    const Phase expected = !record.admitted       ? Phase::kWaiting
                           : !record.trunk_done() ? Phase::kTrunk
                           : !record.decoding()   ? Phase::kSkipping
                                                  : Phase::kDecode;
    if (scheduler.phase(id) != expected) {
      return Wrong("sequence ", id, " is in phase ", static_cast<int>(scheduler.phase(id)),
                   ", not ", static_cast<int>(expected));
    }
    for (int32_t l = 0; l < options_.layers; ++l) {
      if (scheduler.kv_tokens(id, l) != Kv(record, l)) {
        return Wrong("sequence ", id, ", layer ", l, " counts ", scheduler.kv_tokens(id, l),
                     " KV tokens, not ", Kv(record, l));
      }
    }
  }
  int64_t reserved = 0;
  for (SequenceId id : running_) reserved += Need(sequences_.at(id).shape);
  reserved += IdleReserved();
  const Scheduler::Load load = scheduler.load();
  const int64_t by_layer = absl::c_accumulate(load.blocks_by_layer, int64_t{0});
  if (load.waiting != static_cast<int64_t>(waiting_.size()) ||
      load.prefilling + load.decoding != static_cast<int64_t>(running_.size()) ||
      load.blocks_reserved != reserved || load.blocks_used > reserved ||
      load.blocks_total != options_.num_blocks || by_layer != load.blocks_used ||
      scheduler.idle() != sequences_.empty()) {
    return Wrong("load is wrong: ", load.waiting, " waiting, ", load.blocks_reserved, " reserved");
  }
  return absl::OkStatus();
}

std::vector<SequenceId> Oracle::Finished() const {
  std::vector<SequenceId> finished;
  for (const auto& [id, record] : sequences_) {
    if (record.admitted && record.decoding() && record.decoded == record.shape.max_new_tokens - 1) {
      finished.push_back(id);
    }
  }
  return finished;
}

}  // namespace skipserve
