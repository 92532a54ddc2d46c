// `skipserve eval`: what skipping costs on tasks whose right answer is known, beside what else
// could be had for the same FLOPs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/quality/lab.h"
#include "engine/quality/summary.h"
#include "server/tool_io.h"

namespace skipserve {

class ProgressLine;

struct EvalJob {
  LabOptions lab;                     // but max_tokens, which follow from the lengths
  std::vector<std::string> texts;     // files and folders; empty: documents that Debian has
  std::vector<std::string> policies;  // level names, policies as JSON, or @FILE; empty: all levels
  std::vector<std::string> tasks;     // families; empty: all
  std::vector<int64_t> lengths = {1024, 2048, 4096, 7500};  // tokens of a prompt
  int64_t cases = 12;                                       // of each family at each length
  int64_t max_answer_tokens = 48;
  uint64_t seed = 1;
  bool no_baselines = false;  // else, beside every policy: the last tokens only, pruning once
  bool calibration = false;   // the tasks that calibration searches on, instead of those held out
  std::string json_path;      // "": the table alone; "-": standard output instead of the table
};

struct EvalResult {
  std::vector<Reading> readings;  // of Case::outcomes[1] and on
  std::vector<Case> cases;
  std::vector<std::string> left_out;  // families or lengths that could not be made, and why
  std::vector<std::string> notes;     // levels that were measured as others, and why
};

// INVALID_ARGUMENT where the job does not fit the model; NOT_FOUND for texts, levels or families.
absl::StatusOr<EvalResult> EvaluateAll(Lab& lab, const EvalJob& job, ProgressLine& progress);

// The process's exit status.
int Eval(const EvalJob& job, const ToolIo& io);

}  // namespace skipserve
