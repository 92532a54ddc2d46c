// The random driver. All chance comes from one generator, so a seed that fails can be run again.
#include "simulation.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "shapes.h"
#include "simulation_oracle.h"

namespace skipserve {
namespace {

constexpr int64_t kIds = 24;           // few, so that they come again
constexpr int64_t kIdleIds = 100;      // ids beyond are of idle sequences
constexpr int64_t kMaxSteps = 100000;  // far more than any of these lives needs

class Simulation {
 public:
  explicit Simulation(uint64_t seed)
      : dice_(seed),
        options_(RandomOptions()),
        scheduler_(options_),
        twin_(options_),
        oracle_(options_) {
    arrivals_ = Between(3, 40);
    arrival_chance_ = Between(2, 100);
    idle_chance_ = Chance(70) ? Between(1, 60) : 0;
    cancel_chance_ = Chance(50) ? Between(0, 15) : 0;
    fail_chance_ = Chance(50) ? Between(0, 30) : 0;
  }

  SimulationResult Run() {
    while (result_.status.ok() && (arrivals_ > 0 || !scheduler_.idle())) {
      if (++result_.steps > kMaxSteps) Note(absl::InternalError("it does not end"));
      Step();
    }
    const Scheduler::Load load = scheduler_.load();
    if (result_.status.ok() && (load.blocks_used != 0 || load.blocks_reserved != 0)) {
      Note(absl::InternalError("the pool is not empty at the end"));
    }
    result_.over_budget = oracle_.over_budget;
    result_.held_back_by_blocks = oracle_.held_back_by_blocks;
    result_.shared_prefill = oracle_.shared_prefill;
    result_.idle_steps = oracle_.idle_steps;
    result_.idle_waits = oracle_.idle_waits;
    result_.idle_drops = oracle_.idle_drops;
    return result_;
  }

 private:
  int64_t Between(int64_t low, int64_t high) { return dice_.Between(low, high); }
  bool Chance(int64_t percent) { return dice_.Chance(percent); }

  Scheduler::Options RandomOptions() {
    Scheduler::Options options;
    options.layers = static_cast<int32_t>(Between(1, 6));
    options.block_tokens = static_cast<int32_t>(Between(1, 8));
    options.num_blocks = Chance(50) ? Between(1, 60) : Between(60, 800);
    options.max_running = static_cast<int32_t>(Between(1, 8));
    options.max_prefilling = static_cast<int32_t>(Between(1, 4));
    options.max_queue = static_cast<int32_t>(Between(1, 10));
    options.max_idle = static_cast<int32_t>(Between(0, 3));
    options.min_chunk_tokens = Chance(30) ? 1 : Between(2, 32);
    options.chunk_tokens = options.min_chunk_tokens + Between(0, 100);
    options.busy_step_seconds = static_cast<double>(Chance(20) ? 0 : Between(1, 400));
    options.idle_step_seconds = static_cast<double>(Chance(10) ? 0 : Between(1, 20000));
    options.min_slice_rows = Chance(30) ? 1000 : Between(1, 20);
    options.shortest_first = Chance(50);
    options.cost = SecondAFlop();
    return options;
  }

  SequenceShape RandomShape() {
    SequenceShape shape;
    shape.prompt_tokens = Chance(10) ? Between(100, 400) : Between(1, 60);
    if (Chance(2)) shape.prompt_tokens = 0;
    shape.max_new_tokens = Between(1, Chance(50) ? 4 : 30);
    shape.trunk_layers =
        static_cast<int32_t>(Chance(40) ? options_.layers : Between(0, options_.layers));
    shape.kv_prompt_tokens.assign(options_.layers, shape.prompt_tokens);
    for (int32_t l = shape.trunk_layers; l < options_.layers; ++l) {
      shape.kv_prompt_tokens[l] = Between(0, shape.prompt_tokens);
      SkipLayer layer;
      layer.rows = shape.kv_prompt_tokens[l];
      layer.key_flops = static_cast<double>(Between(0, 20));
      layer.probe_flops = static_cast<double>(Between(0, 50));
      layer.ffn_probe_flops = static_cast<double>(Chance(50) ? 0 : Between(0, 50));
      layer.attention_flops_per_row = static_cast<double>(Between(0, 5));
      layer.attention_flops_per_pair = static_cast<double>(Between(0, 1)) * 2;
      layer.ffn_flops_per_row = static_cast<double>(Between(0, 5));
      shape.skip_layers.push_back(layer);
    }
    // Whole numbers: every order of summing them gives the same.
    shape.trunk_flops_per_token = static_cast<double>(Between(0, 20));
    shape.trunk_flops_per_pair = static_cast<double>(Between(0, 2)) * 2;
    return shape;
  }

  void Step() {
    now_ += Chance(50) ? absl::Milliseconds(Between(0, 20)) : absl::Seconds(Between(0, 200));
    while (arrivals_ > 0 && Chance(arrival_chance_)) {
      --arrivals_;
      Arrive(static_cast<SequenceId>(Between(1, kIds)), /*idle=*/false);
    }
    if (arrivals_ > 0 && Chance(idle_chance_)) {
      Arrive(static_cast<SequenceId>(kIdleIds + Between(1, 4)), /*idle=*/true);
    }
    CancelSome();
    const StepPlan plan = scheduler_.Plan(now_);
    const StepPlan twin_plan = twin_.Plan(now_);
    Record(plan);
    Note(CheckTwin(plan, twin_plan));
    Note(oracle_.CheckPlan(scheduler_, plan, now_));
    Check();
    if (!result_.status.ok()) return;
    Note(oracle_.Run(scheduler_, plan));
    if (Chance(20)) PlanAgain();
    CancelSome();
    if (!Fail(plan)) {
      scheduler_.Commit(plan);
      twin_.Commit(twin_plan);
      oracle_.Committed(plan);
    }
    for (SequenceId id : oracle_.Finished()) Finish(id);
    Check();
  }

  void Arrive(SequenceId id, bool idle) {
    const SequenceShape shape = RandomShape();
    const Oracle::Answer expected = oracle_.ExpectedAnswer(id, shape, idle);
    const absl::Status status = idle ? scheduler_.AddIdle(id, shape) : scheduler_.Add(id, shape);
    if (!idle && twin_.Add(id, shape) != status)
      Note(absl::InternalError("the twin adds otherwise"));
    if (status.code() != expected.code || !absl::StartsWith(status.message(), expected.prefix)) {
      Note(absl::InternalError(absl::StrCat("Add answers ", status.ToString())));
    }
    result_.queue_full += expected.prefix == Scheduler::kQueueFull;
    result_.never_fits += expected.prefix == Scheduler::kNeverFits;
    if (status.ok()) oracle_.Added(id, shape, idle);
  }

  // Ordinary work is the same as without idle sequences, whose work is in no plan with it.
  absl::Status CheckTwin(const StepPlan& plan, const StepPlan& twin) const {
    if (twin.empty()) {
      return twin_.idle() ? absl::OkStatus() : absl::InternalError("the twin does nothing");
    }
    const auto equal = [](const auto& a, const auto& b, const auto& key) {
      return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                        [&](const auto& x, const auto& y) { return key(x) == key(y); });
    };
    if (equal(plan.decodes, twin.decodes, [](const DecodeItem& i) { return i.id; }) &&
        equal(plan.trunks, twin.trunks,
              [](const TrunkItem& i) {
                return std::tuple(i.id, i.token_begin, i.token_end, i.layer_begin, i.layer_end);
              }) &&
        equal(plan.skips, twin.skips, [](const SkipItem& i) {
          return std::tuple(i.id, i.begin.layer, i.begin.row, i.end.layer, i.end.row);
        })) {
      return absl::OkStatus();
    }
    return absl::InternalError("idle sequences change the plan of ordinary ones");
  }

  void CancelSome() {
    for (SequenceId id = 1; id <= kIdleIds + 4; ++id) {
      if (!oracle_.Knows(id) || Between(0, 999) >= cancel_chance_) continue;
      Note(oracle_.CheckMemory(scheduler_, id));
      Remove(id);
      ++result_.cancelled;
    }
  }

  // Twice the same plan with the same memory.
  void PlanAgain() {
    const uint64_t before = result_.fingerprint;
    const int64_t used = scheduler_.load().blocks_used;
    result_.fingerprint = 0;
    Record(scheduler_.Plan(now_));
    const uint64_t first = result_.fingerprint;
    result_.fingerprint = 0;
    Record(scheduler_.Plan(now_));
    if (result_.fingerprint != first || scheduler_.load().blocks_used != used) {
      Note(absl::InternalError("planning again changes the plan or the memory"));
    }
    result_.fingerprint = before;
    Check();
  }

  // A step that fails is not committed; half of the time all of its requests end with it.
  bool Fail(const StepPlan& plan) {
    if (!Chance(fail_chance_)) return false;
    ++result_.failed_steps;
    if (Chance(50)) return true;
    for (const DecodeItem& item : plan.decodes) RemoveIfThere(item.id);
    for (const TrunkItem& item : plan.trunks) RemoveIfThere(item.id);
    for (const SkipItem& item : plan.skips) RemoveIfThere(item.id);
    return true;
  }

  void Finish(SequenceId id) {
    Note(oracle_.CheckMemory(scheduler_, id));
    const bool dense = scheduler_.tables(id).size() == oracle_.TrunkLayers(id);
    ++(id > kIdleIds ? result_.finished_idle
       : dense       ? result_.finished_dense
                     : result_.finished_skipping);
    Remove(id);
  }

  void RemoveIfThere(SequenceId id) {
    if (oracle_.Knows(id)) Remove(id);
  }

  void Remove(SequenceId id) {
    if (!scheduler_.Remove(id)) Note(absl::InternalError(absl::StrCat(id, " is unknown")));
    twin_.Remove(id);
    oracle_.Removed(id);
  }

  void Check() {
    Note(scheduler_.CheckInvariants());
    if (result_.status.ok()) Note(oracle_.CheckState(scheduler_));
  }

  void Note(const absl::Status& status) { result_.status.Update(status); }

  void Mix(uint64_t value) { result_.fingerprint = (result_.fingerprint ^ value) * 1099511628211u; }

  void Record(const StepPlan& plan) {
    auto mix_tables = [&](SequenceId id) {
      Mix(id);
      for (const BlockTable& table : scheduler_.tables(id)) {
        for (BlockId block : table.blocks) Mix(static_cast<uint64_t>(block) + 1);
      }
    };
    Mix(1);
    for (const DecodeItem& item : plan.decodes) mix_tables(item.id);
    Mix(2);
    for (const TrunkItem& item : plan.trunks) {
      mix_tables(item.id);
      Mix(static_cast<uint64_t>(item.token_begin));
      Mix(static_cast<uint64_t>(item.token_end));
      Mix(static_cast<uint64_t>(item.layer_end));
    }
    Mix(4);
    for (SequenceId id : plan.dropped) Mix(id);
    Mix(3);
    for (const SkipItem& item : plan.skips) {
      mix_tables(item.id);
      for (const SkipPoint point : {item.begin, item.end}) {
        Mix(static_cast<uint64_t>(point.layer));
        Mix(static_cast<uint64_t>(point.row));
      }
    }
  }

  Dice dice_;
  Scheduler::Options options_;
  Scheduler scheduler_;
  Scheduler twin_;
  Oracle oracle_;
  SimulationResult result_;
  absl::Time now_ = absl::UnixEpoch();
  int64_t arrivals_ = 0;        // still to come
  int64_t arrival_chance_ = 0;  // percent
  int64_t idle_chance_ = 0;     // percent, of an idle arrival in a step
  int64_t cancel_chance_ = 0;   // of a thousand, each sequence, twice a step
  int64_t fail_chance_ = 0;     // percent
};

}  // namespace

SimulationResult& SimulationResult::operator+=(const SimulationResult& other) {
  status.Update(other.status);
  steps += other.steps;
  finished_dense += other.finished_dense;
  finished_skipping += other.finished_skipping;
  cancelled += other.cancelled;
  failed_steps += other.failed_steps;
  queue_full += other.queue_full;
  never_fits += other.never_fits;
  over_budget += other.over_budget;
  held_back_by_blocks += other.held_back_by_blocks;
  shared_prefill += other.shared_prefill;
  finished_idle += other.finished_idle;
  idle_steps += other.idle_steps;
  idle_waits += other.idle_waits;
  idle_drops += other.idle_drops;
  return *this;
}

SimulationResult Simulate(uint64_t seed) { return Simulation(seed).Run(); }

}  // namespace skipserve
