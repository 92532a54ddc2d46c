// Shapes for the scheduler's tests: costs are small whole numbers, so that budgets read easily.
#include "shapes.h"

namespace skipserve {

SequenceShape DenseShape(int32_t layers, int64_t prompt_tokens, int64_t max_new_tokens) {
  SequenceShape shape;
  shape.prompt_tokens = prompt_tokens;
  shape.max_new_tokens = max_new_tokens;
  shape.trunk_layers = layers;
  shape.kv_prompt_tokens.assign(layers, prompt_tokens);
  shape.trunk_flops_per_token = 1.0 / layers;
  return shape;
}

SequenceShape SkippingShape(int32_t layers, int64_t prompt_tokens, int64_t kept,
                            int64_t max_new_tokens) {
  SequenceShape shape = DenseShape(layers, prompt_tokens, max_new_tokens);
  shape.trunk_layers = layers / 2;
  shape.trunk_flops_per_token = 1.0 / shape.trunk_layers;
  for (int32_t l = shape.trunk_layers; l < layers; ++l) {
    shape.kv_prompt_tokens[l] = kept;
    SkipLayer layer;
    layer.rows = kept;
    layer.probe_flops = 10;
    shape.skip_layers.push_back(layer);
  }
  return shape;
}

Work SecondAFlop() {
  Work cost;
  cost[WorkKind::kMatMul] = cost[WorkKind::kAttention] = cost[WorkKind::kProbe] = 1;
  return cost;
}

Scheduler::Options SmallOptions(int64_t num_blocks) {
  Scheduler::Options options;
  options.num_blocks = num_blocks;
  options.block_tokens = 4;
  options.layers = 4;
  options.min_chunk_tokens = 8;
  options.chunk_tokens = 32;
  options.min_slice_rows = 1000;  // whole layers
  options.busy_step_seconds = 10;
  options.idle_step_seconds = 1000;
  options.shortest_first = false;
  options.cost = SecondAFlop();
  return options;
}

void RunPrefill(Scheduler& scheduler, SequenceId id) {
  for (int step = 0; step < 1000; ++step) {
    scheduler.Commit(scheduler.Plan(kNow));
    if (scheduler.phase(id) == Scheduler::Phase::kDecode) return;
  }
  FAIL() << "sequence " << id << " does not end its prefill";
}

}  // namespace skipserve
