#include "server/bench_report.h"

#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "engine/machine.h"
#include "server/openai_report.h"
#include "server/report_text.h"
#include "server/terminal.h"

namespace skipserve {
namespace {

std::string Megabytes(int64_t bytes) {
  return absl::StrFormat("%.1f MB", double(bytes) / (1 << 20));
}

std::string CpuName() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(':');
    if (colon != std::string::npos && line.rfind("model name", 0) == 0) {
      return std::string(absl::StripAsciiWhitespace(line.substr(colon + 1)));
    }
  }
  return "unknown";
}

std::string ModelName(const ModelInfo& model) {
  return model.config.name.empty() ? model.config.architecture : model.config.name;
}

OrderedJson TalliesJson(const OpTallies& tallies) {
  OrderedJson json = OrderedJson::array();
  for (const auto& [name, t] : tallies) {
    json.push_back({{"op", name},
                    {"calls", t.calls},
                    {"seconds", t.seconds},
                    {"flops", t.flops},
                    {"bytes", t.bytes}});
  }
  return json;
}

OrderedJson CellJson(const BenchCell& cell) {
  OrderedJson json = {{"prompt_tokens", cell.prompt_tokens},
                      {"requested_level", cell.requested},
                      {"prefill_tokens_per_second", cell.prefill_tokens_per_second},
                      {"ttft_seconds", cell.ttft_seconds},
                      {"ttft_seconds_runs", cell.ttft_runs},
                      {"gain", nullptr},
                      {"decode_tokens_per_second", cell.decode_tokens_per_second},
                      {"decode_tokens_per_second_runs", cell.decode_runs},
                      {"kv_bytes", cell.kv_bytes},
                      {"skip", SkipJson(cell.report)}};
  if (cell.gain > 0) json["gain"] = cell.gain;
  if (!cell.prefill_ops.empty()) {
    json["profile"] = {{"prefill", TalliesJson(cell.prefill_ops)},
                       {"decode", TalliesJson(cell.decode_ops)}};
  }
  return json;
}

// Where the time of one phase went, the longest first; what is under a thousandth is summed up.
std::string ProfileTable(absl::string_view phase, const OpTallies& tallies) {
  OpTally all;
  std::vector<std::pair<std::string, OpTally>> sorted(tallies.begin(), tallies.end());
  for (const auto& [name, t] : sorted) {
    all.calls += t.calls;
    all.seconds += t.seconds;
    all.flops += t.flops;
  }
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
  Table table({absl::StrCat(phase, ", operation"), "calls", "time", "share", "GFLOP/s", "GB/s"});
  const auto add = [&](const std::string& name, const OpTally& t) {
    const auto rate = [&](double amount) {
      return amount > 0 ? absl::StrFormat("%.1f", amount / t.seconds / 1e9) : std::string("-");
    };
    table.AddRow({name, FormatCount(t.calls), absl::StrFormat("%.1f ms", t.seconds * 1e3),
                  FormatPercent(t.seconds / all.seconds), rate(t.flops), rate(t.bytes)});
  };
  OpTally rest;
  for (const auto& [name, t] : sorted) {
    if (t.seconds >= 0.001 * all.seconds) {
      add(name, t);
    } else {
      rest.calls += t.calls;
      rest.seconds += t.seconds;
    }
  }
  if (rest.calls > 0) add("others", rest);
  if (all.calls > 0) add("all", all);
  return table.ToString(200);
}

}  // namespace

MachineFacts ReadMachineFacts(int threads) {
  const int64_t memory = AvailableMemory();
  return {CpuName(), AvailableCpus(), threads, memory};
}

int64_t PeakMemory() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

std::string BenchTable(const ModelInfo& model, const MachineFacts& machine, const BenchJob& job,
                       const std::vector<BenchCell>& cells, int64_t peak_memory) {
  std::string out = absl::StrCat(
      ModelName(model), ", ", model.dtype, ", KV in ", model.kv_dtype, ", ", model.backend, "\n",
      machine.cpu, ", ", machine.threads, " of ", machine.cores, " cores, ",
      absl::StrFormat("%.1f GB", double(machine.memory_bytes) / (1 << 30)),
      " of memory\nmedians of ", job.repeat, " runs after a warm-up, levels taking turns; ",
      job.decode_tokens, " tokens decoded after each prompt\n\n");
  Table table({"prompt", "level", "prefill tok/s", "TTFT", "gain", "FLOP bound", "skipped",
               "decode tok/s", "KV tokens cached", "KV memory"});
  std::vector<std::string> notes;
  for (const BenchCell& cell : cells) {
    const Report& r = cell.report;
    const bool renamed =
        cell.requested.find('{') == std::string::npos && cell.requested != r.skip_level;
    std::string level = renamed ? absl::StrCat(cell.requested, " = ", r.skip_level) : r.skip_level;
    if (!r.skip_reason.empty()) {
      notes.push_back(absl::StrCat(FormatCount(cell.prompt_tokens), " tokens at ", cell.requested,
                                   ": dense, since ", r.skip_reason, "\n"));
    }
    table.AddRow({FormatCount(cell.prompt_tokens), std::move(level),
                  FormatRate(cell.prefill_tokens_per_second),
                  FormatElapsed(absl::Seconds(cell.ttft_seconds)),
                  cell.gain > 0 ? absl::StrFormat("%.2fx", cell.gain) : "-",
                  absl::StrFormat("%.2fx", r.flop_bound), FormatPercent(r.kv_skip_ratio),
                  FormatRate(cell.decode_tokens_per_second), FormatCount(r.kv_token_layers),
                  Megabytes(cell.kv_bytes)});
  }
  absl::StrAppend(&out, table.ToString(200), "\n", absl::StrJoin(notes, ""),
                  "peak memory of the process: ", Megabytes(peak_memory), "\n");
  for (const BenchCell& cell : cells) {
    if (cell.prefill_ops.empty()) continue;
    absl::StrAppend(&out, "\n", FormatCount(cell.prompt_tokens), " tokens at ", cell.requested,
                    ", one run\n", ProfileTable("prefill", cell.prefill_ops), "\n",
                    ProfileTable("decode", cell.decode_ops));
  }
  return out;
}

OrderedJson BenchJson(const ModelInfo& model, const MachineFacts& machine, const BenchJob& job,
                      const std::vector<BenchCell>& cells, int64_t peak_memory) {
  OrderedJson json = {{"model",
                       {{"name", model.config.name},
                        {"architecture", model.config.architecture},
                        {"fingerprint", model.fingerprint},
                        {"dtype", model.dtype},
                        {"kv_dtype", model.kv_dtype},
                        {"backend", model.backend}}},
                      {"machine",
                       {{"cpu", machine.cpu},
                        {"cores", machine.cores},
                        {"threads", machine.threads},
                        {"memory_bytes", machine.memory_bytes}}},
                      {"repeat", job.repeat},
                      {"decode_tokens", job.decode_tokens},
                      {"seed", job.seed},
                      {"peak_memory_bytes", peak_memory},
                      {"results", OrderedJson::array()}};
  for (const BenchCell& cell : cells) json["results"].push_back(CellJson(cell));
  return json;
}

}  // namespace skipserve
