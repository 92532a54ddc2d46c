// `skipserve bench`: what skipping gains on this machine, measured through the engine as its users
// meet it. Dense and skipping runs take turns, so that a machine that warms or slows favours
// nobody.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "engine/open.h"
#include "kernels/profiled_ops.h"
#include "server/tool_io.h"

namespace skipserve {

class ProgressLine;

struct BenchJob {
  EngineOptions engine;
  std::vector<int64_t> prompt_lengths = {512, 2048, 8000};  // tokens
  std::vector<std::string> levels = {"off", "auto"};        // as ParseSkip takes them
  int64_t decode_tokens = 64;
  int64_t repeat = 3;
  uint64_t seed = 1;
  bool profile = false;   // one more run of each, with the time of every operation
  std::string json_path;  // "": the table alone; "-": standard output instead of the table
};

// One prompt length at one level: medians over the repetitions.
struct BenchCell {
  int64_t prompt_tokens = 0;
  std::string requested;  // as asked for: "auto"
  Report report;          // of the last run; counts are the same in all
  double ttft_seconds = 0;
  double prefill_tokens_per_second = 0;
  double decode_tokens_per_second = 0;
  double gain = 0;  // dense TTFT over this one; 0 where no dense run was asked for
  int64_t kv_bytes = 0;
  std::vector<double> ttft_runs;  // seconds, in the order they ran
  std::vector<double> decode_runs;
  // Of one run, where asked for: up to the first token, and after it.
  OpTallies prefill_ops, decode_ops;
};

// INVALID_ARGUMENT where the job does not fit the model. `ops`, if not null, is what the engine
// computes with.
absl::StatusOr<std::vector<BenchCell>> MeasureAll(Engine& engine, const BenchJob& job,
                                                  ProfiledOps* ops, ProgressLine& progress);

// The process's exit status.
int Bench(const BenchJob& job, const ToolIo& io);

}  // namespace skipserve
