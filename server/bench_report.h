// What a benchmark found, as a table for people and JSON for machines, with the facts of the
// machine without which the figures mean nothing. No measuring here.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "server/bench.h"
#include "server/openai_error.h"

namespace skipserve {

struct MachineFacts {
  std::string cpu;           // as the system names it
  int cores = 0;             // that this process may use
  int threads = 0;           // that compute
  int64_t memory_bytes = 0;  // of the machine
};

MachineFacts ReadMachineFacts(int threads);

// The most memory this process has held, in bytes.
int64_t PeakMemory();

std::string BenchTable(const ModelInfo& model, const MachineFacts& machine, const BenchJob& job,
                       const std::vector<BenchCell>& cells, int64_t peak_memory);

OrderedJson BenchJson(const ModelInfo& model, const MachineFacts& machine, const BenchJob& job,
                      const std::vector<BenchCell>& cells, int64_t peak_memory);

}  // namespace skipserve
