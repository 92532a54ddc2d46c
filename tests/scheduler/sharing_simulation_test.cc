// Thousands of random lives of a scheduler whose prompts begin alike and whose answers may outgrow
// what they were promised, over a shadow of the pool's
// memory in which every slot knows the tokens it was computed from: what a sequence reads must be
// what it would have computed itself, whoever computed it, whatever was evicted in between.
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "scheduler/shape.h"
#include "shapes.h"

namespace skipserve {
namespace {

uint64_t Chain(uint64_t before, uint64_t value) {
  uint64_t x = before * 6364136223846793005u + value + 1442695040888963407u;
  x ^= x >> 29;
  return x * 0xbf58476d1ce4e5b9u;
}

struct Counts {
  int64_t finished = 0, hits = 0, full_hits = 0, states_read = 0, evictions = 0, pins = 0,
          preempted = 0, prefixes_read = 0, queue_full = 0;
};

class Life {
 public:
  Life(uint64_t seed, Counts& counts)
      : dice_(seed),
        counts_(counts),
        options_(Options()),
        scheduler_(options_),
        memory_(options_.num_blocks * options_.block_tokens),
        arrivals_(Between(5, 60)) {}

  absl::Status Run() {
    for (int step = 0; arrivals_ > 0 || !scheduler_.idle(); ++step) {
      if (step > 50000) return absl::InternalError("it does not end");
      if (absl::Status status = Step(); !status.ok()) return status;
    }
    for (const auto& [keys, blocks] : pins_) scheduler_.Unpin(keys, blocks);
    const Scheduler::Load load = scheduler_.load();
    counts_.evictions += load.prefix_evictions;
    if (load.blocks_used != 0 || load.blocks_reserved != 0) {
      return absl::InternalError("the pool holds more than prefixes at the end");
    }
    return scheduler_.CheckInvariants();
  }

 private:
  struct Prompt {
    SequenceShape shape;
    std::vector<uint64_t> tokens;  // chained: token i stands for all up to it
    uint64_t own = 0;              // what nobody shares
  };

  int64_t Between(int64_t low, int64_t high) { return dice_.Between(low, high); }
  bool Chance(int64_t percent) { return dice_.Chance(percent); }

  Scheduler::Options Options() {
    Scheduler::Options options;
    options.layers = static_cast<int32_t>(Between(1, 4));
    options.block_tokens = static_cast<int32_t>(Between(1, 6));
    options.num_blocks = Chance(60) ? Between(20, 120) : Between(120, 1500);
    options.max_running = static_cast<int32_t>(Between(1, 6));
    options.max_prefilling = static_cast<int32_t>(Between(1, 4));
    options.max_queue = 100;
    options.min_chunk_tokens = Between(1, 9);
    options.chunk_tokens = options.min_chunk_tokens + Between(0, 40);
    options.min_slice_rows = Between(1, 10);
    options.busy_step_seconds = static_cast<double>(Between(0, 100));
    options.idle_step_seconds = static_cast<double>(Between(0, 400));
    options.state_blocks = static_cast<int32_t>(Between(0, 3));
    options.cost = SecondAFlop();
    if (Chance(60)) options.promised_new_tokens = Between(1, 6);
    if (Chance(30)) options.max_queue_tokens = Between(50, 400);
    return options;
  }

  // A document of a few, read up to somewhere, then tokens of its own.
  Prompt RandomPrompt() {
    Prompt prompt;
    SequenceShape& shape = prompt.shape;
    const bool dense = Chance(40);
    shape = dense ? DenseShape(options_.layers, Between(1, 80), Between(1, 25))
                  : SkippingShape(options_.layers, Between(1, 80), 1, Between(1, 25));
    for (size_t i = 0; i < shape.skip_layers.size(); ++i) {
      const int64_t rows = Between(1, shape.prompt_tokens);
      shape.kv_prompt_tokens[shape.trunk_layers + i] = shape.skip_layers[i].rows = rows;
    }
    if (Chance(10)) {
      shape.prefix_only = true;
      shape.max_new_tokens = 1;
      shape.skip_layers.clear();
      for (int32_t l = shape.trunk_layers; l < options_.layers; ++l) shape.kv_prompt_tokens[l] = 0;
    }
    const uint64_t document = static_cast<uint64_t>(Between(1, 3)), salt = Chance(80) ? 0 : 1;
    const int64_t shared = Chance(20) ? 0 : Between(0, 90);
    prompt.own = dice_.Any();
    uint64_t chain = Chain(Chain(salt, document), static_cast<uint64_t>(shape.trunk_layers));
    for (int64_t i = 0; i < shape.prompt_tokens; ++i) {
      chain = Chain(chain, i < shared ? document : prompt.own);
      prompt.tokens.push_back(chain);
      if ((i + 1) % options_.block_tokens == 0) shape.prefix_keys.push_back({chain, ~chain});
    }
    if (Chance(10) && !shape.prefix_only) shape.prefix_keys.clear();
    shape.priority = Chance(70) ? 0 : static_cast<int32_t>(Between(-1, 1));
    shape.client = std::string(static_cast<size_t>(Between(0, 2)), 'c');
    return prompt;
  }

  absl::Status Step() {
    now_ += absl::Seconds(Between(0, 50));
    while (arrivals_ > 0 && Chance(40)) {
      --arrivals_;
      Prompt prompt = RandomPrompt();
      const SequenceId id = next_id_++;
      const absl::Status status = scheduler_.Add(id, prompt.shape);
      counts_.queue_full += absl::StartsWith(status.message(), Scheduler::kQueueFull);
      if (status.ok()) prompts_[id] = std::move(prompt);
    }
    if (Chance(5)) PinOrUnpin();
    RemoveSome();
    const StepPlan plan = scheduler_.Plan(now_);
    if (absl::Status status = scheduler_.CheckInvariants(); !status.ok()) return status;
    for (SequenceId id : plan.preempted) {
      ++counts_.preempted;
      begun_.erase(id);
      if (scheduler_.phase(id) != Scheduler::Phase::kWaiting) {
        return absl::InternalError("a preempted sequence does not wait");
      }
    }
    if (plan.empty() && plan.preempted.empty() && !prompts_.empty() && !AnyDone()) {
      return absl::InternalError("an empty plan with work to do");
    }
    for (const auto& [id, prompt] : prompts_) {
      if (absl::Status status = Begin(id, prompt); !status.ok()) return status;
    }
    Write(plan);
    if (Chance(10)) return absl::OkStatus();  // the step failed
    RemoveSome();
    scheduler_.Commit(plan);
    for (auto it = prompts_.begin(); it != prompts_.end();) {
      const SequenceId id = it->first;
      const Prompt& prompt = it->second;
      ++it;
      if (absl::Status status = CheckMemory(id, prompt); !status.ok()) return status;
      const int32_t last = options_.layers - 1;
      const bool done = scheduler_.phase(id) == Scheduler::Phase::kDone ||
                        (scheduler_.phase(id) == Scheduler::Phase::kDecode &&
                         scheduler_.kv_tokens(id, last) ==
                             prompt.shape.kv_prompt_tokens[last] + prompt.shape.max_new_tokens - 1);
      if (!done) continue;
      ++counts_.finished;
      Remove(id);
    }
    return scheduler_.CheckInvariants();
  }

  // One that has read its prefix stays until it is removed, and others may wait for its place.
  bool AnyDone() const {
    for (const auto& [id, prompt] : prompts_) {
      if (scheduler_.phase(id) == Scheduler::Phase::kDone) return true;
    }
    return false;
  }

  // What a sequence found must be what it needs, in the step in which it is admitted.
  absl::Status Begin(SequenceId id, const Prompt& prompt) {
    if (begun_.count(id) || scheduler_.phase(id) == Scheduler::Phase::kWaiting) {
      return absl::OkStatus();
    }
    begun_.insert({id, true});
    const Scheduler::Cached cached = scheduler_.cached(id);
    counts_.hits += cached.tokens > 0;
    counts_.full_hits += cached.tokens == prompt.shape.prompt_tokens;
    counts_.prefixes_read += prompt.shape.prefix_only;
    const int64_t each = prompt.shape.trunk_layers < options_.layers ? options_.state_blocks : 0;
    const int64_t blocks = cached.tokens / options_.block_tokens;
    if (static_cast<int64_t>(cached.states.size()) != blocks * each) {
      return absl::InternalError("states are missing");
    }
    for (int64_t i = 0; i < blocks * each; ++i) {
      ++counts_.states_read;
      const uint64_t token = prompt.tokens[(i / each + 1) * options_.block_tokens - 1];
      if (memory_[cached.states[i] * options_.block_tokens] != StateValue(token, i % each)) {
        return absl::InternalError(absl::StrCat("states of block ", i / each, " are not its own"));
      }
    }
    return CheckMemory(id, prompt);
  }

  uint64_t StateValue(uint64_t token, int64_t part) const { return Chain(token, 1000 + part); }

  uint64_t KvValue(const Prompt& prompt, int32_t layer, int64_t t) const {
    const bool shared = layer < prompt.shape.trunk_layers && t < prompt.shape.prompt_tokens;
    return shared ? Chain(prompt.tokens[t], layer) : Chain(prompt.own, layer * 1000 + t);
  }

  void WriteKv(SequenceId id, int32_t layer, int64_t begin, int64_t end) {
    const std::vector<BlockId>& blocks = scheduler_.tables(id)[layer].blocks;
    for (int64_t t = begin; t < end; ++t) {
      memory_[blocks.at(t / options_.block_tokens) * options_.block_tokens +
              t % options_.block_tokens] = KvValue(prompts_.at(id), layer, t);
    }
  }

  void Write(const StepPlan& plan) {
    for (const DecodeItem& item : plan.decodes) {
      for (int32_t l = 0; l < options_.layers; ++l) {
        const int64_t t = scheduler_.kv_tokens(item.id, l);
        WriteKv(item.id, l, t, t + 1);
      }
    }
    for (const TrunkItem& item : plan.trunks) {
      const Prompt& prompt = prompts_.at(item.id);
      EXPECT_TRUE(item.states.empty() || item.layer_end == prompt.shape.trunk_layers);
      for (int32_t l = item.layer_begin; l < item.layer_end; ++l) {
        WriteKv(item.id, l, item.token_begin, item.token_end);
      }
      for (size_t i = 0; i < item.states.size(); ++i) {
        const int64_t block =
            item.first_state_block + static_cast<int64_t>(i) / options_.state_blocks;
        const int64_t last = (block + 1) * options_.block_tokens - 1;
        EXPECT_LT(last, item.token_end);
        memory_[item.states[i] * options_.block_tokens] =
            StateValue(prompt.tokens.at(last), i % options_.state_blocks);
      }
    }
    for (const SkipItem& item : plan.skips) {
      for (int32_t l = item.begin.layer; l <= item.end.layer && l < options_.layers; ++l) {
        const int64_t rows = prompts_.at(item.id).shape.kv_prompt_tokens[l];
        WriteKv(item.id, l, l == item.begin.layer ? std::min(rows, item.begin.row) : 0,
                l == item.end.layer ? std::min(rows, item.end.row) : rows);
      }
    }
  }

  absl::Status CheckMemory(SequenceId id, const Prompt& prompt) const {
    if (scheduler_.phase(id) == Scheduler::Phase::kWaiting) return absl::OkStatus();
    for (int32_t l = 0; l < options_.layers; ++l) {
      const std::vector<BlockId>& blocks = scheduler_.tables(id)[l].blocks;
      for (int64_t t = 0; t < scheduler_.kv_tokens(id, l); ++t) {
        if (memory_[blocks.at(t / options_.block_tokens) * options_.block_tokens +
                    t % options_.block_tokens] != KvValue(prompt, l, t)) {
          return absl::InternalError(
              absl::StrCat("sequence ", id, ", layer ", l, ", token ", t, " is not its own"));
        }
      }
    }
    return absl::OkStatus();
  }

  void PinOrUnpin() {
    if (!pins_.empty() && Chance(50)) {
      scheduler_.Unpin(pins_.back().first, pins_.back().second);
      pins_.pop_back();
    } else if (!prompts_.empty()) {
      const auto& keys = prompts_.begin()->second.shape.prefix_keys;
      const auto blocks = scheduler_.Pin(keys);
      counts_.pins += blocks.ok() && *blocks > 0;
      if (blocks.ok()) pins_.emplace_back(keys, *blocks);
    }
  }

  void RemoveSome() {
    for (auto it = prompts_.begin(); it != prompts_.end();) {
      const SequenceId id = (it++)->first;
      if (Between(0, 999) < 10) Remove(id);
    }
  }

  void Remove(SequenceId id) {
    EXPECT_TRUE(scheduler_.Remove(id));
    prompts_.erase(id);
    begun_.erase(id);
  }

  Dice dice_;
  Counts& counts_;
  const Scheduler::Options options_;
  Scheduler scheduler_;
  std::vector<uint64_t> memory_;  // [num_blocks, block_tokens]
  std::map<SequenceId, Prompt> prompts_;
  std::map<SequenceId, bool> begun_;
  std::vector<std::pair<std::vector<PrefixKey>, int64_t>> pins_;
  absl::Time now_ = absl::UnixEpoch();
  int64_t arrivals_;
  SequenceId next_id_ = 1;
};

TEST(SharingSimulation, EverybodyReadsTheirOwnTokens) {
  Counts counts;
  for (uint64_t seed = 0; seed < 3000; ++seed) {
    const absl::Status status = Life(seed, counts).Run();
    ASSERT_TRUE(status.ok()) << "seed " << seed << ": " << status;
  }
  // Every rule has been put to the test, many times.
  EXPECT_GT(counts.finished, 20000);
  EXPECT_GT(counts.hits, 5000);
  EXPECT_GT(counts.full_hits, 200);
  EXPECT_GT(counts.states_read, 5000);
  EXPECT_GT(counts.evictions, 5000);
  EXPECT_GT(counts.pins, 500);
  EXPECT_GT(counts.prefixes_read, 500);
  EXPECT_GT(counts.preempted, 1000);
  EXPECT_GT(counts.queue_full, 1000);
}

}  // namespace
}  // namespace skipserve
