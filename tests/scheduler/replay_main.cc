// What a recorded trace would have been with other settings, in simulation.
//
//   replay TRACE [OPTION=VALUE ...]      options are the trace's own, such as max_running=8
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <string>

#include "absl/strings/str_split.h"
#include "tests/scheduler/replay.h"

namespace skipserve {
namespace {

double Quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(share * static_cast<double>(values.size() - 1))];
}

void Print(const char* name, const std::vector<double>& values) {
  std::printf("%-16s %9.3f %9.3f %9.3f\n", name, Quantile(values, 0.5), Quantile(values, 0.99),
              Quantile(values, 1));
}

int Main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "replay TRACE [OPTION=VALUE ...]\n";
    return 2;
  }
  absl::StatusOr<Trace> trace = ReadTrace(argv[1]);
  absl::Status status = trace.status();
  for (int i = 2; i < argc && status.ok(); ++i) {
    const std::pair<std::string, std::string> setting =
        absl::StrSplit(argv[i], absl::MaxSplits('=', 1));
    status = SetOption(setting.first, setting.second, trace->options);
  }
  if (status.ok()) status = Scheduler::CheckOptions(trace->options);
  if (!status.ok()) {
    std::cerr << "replay: " << status.message() << "\n";
    return 2;
  }
  const ReplayResult result = Replay(*trace, trace->options);
  std::printf(
      "%zu requests in %.1f s and %lld steps: %lld ended, %lld refused, %lld preemptions, "
      "%lld prompt tokens cached\n\n%-16s %9s %9s %9s\n",
      trace->requests.size(), result.seconds, static_cast<long long>(result.steps),
      static_cast<long long>(result.ended), static_cast<long long>(result.refused),
      static_cast<long long>(result.preemptions), static_cast<long long>(result.cached_tokens),
      "seconds", "median", "p99", "max");
  Print("TTFT", result.ttft);
  Print("TTFT, recorded", result.recorded);
  Print("gap", result.gaps);
  if (result.status.ok()) return 0;
  std::cerr << "replay: " << result.status << "\n";
  return 1;
}

}  // namespace
}  // namespace skipserve

int main(int argc, char** argv) { return skipserve::Main(argc, argv); }
