// The program: finds the command, reads its flags, runs it. Exit codes: 0, 1 for a failure, 2 for a
// wrong command line.
#include <algorithm>
#include <exception>
#include <iostream>
#include <string>
#include <vector>

#include "server/commands.h"
#include "server/flags.h"
#include "server/log.h"

namespace skipserve {
namespace {

struct CommandEntry {
  const char* name;
  Command command;
  const char* arguments;
  const char* what;
  int (*run)(const Options&);
};

constexpr CommandEntry kCommands[] = {
    {"serve", kServe, "MODEL", "Serve a model over gRPC and OpenAI-compatible HTTP.", RunServe},
    {"generate", kGenerate, "MODEL",
     "Answer a question about a document, streaming, and report what was skipped.", RunGenerate},
    {"calibrate", kCalibrate, "MODEL TEXTS...",
     "Build a model's skip settings from some texts, once.", RunCalibrate},
    {"inspect", kInspect, "MODEL",
     "Show a model's facts, and how deep each token of a document is computed.", RunInspect},
    {"bench", kBench, "MODEL", "Measure prefill and decode, dense against skipping.", RunBench},
    {"eval", kEval, "MODEL [TEXTS...]",
     "Measure what skipping costs in quality, beside what else the same FLOPs buy.", RunEval},
};

void PrintHelp(std::ostream& out) {
  out << "SkipServe " << SKIPSERVE_VERSION << ": LLM inference that skips what a long prompt does "
      << "not need.\n\nUsage: skipserve COMMAND MODEL [flags]\n\n";
  for (const CommandEntry& entry : kCommands) {
    out << "  " << entry.name << std::string(12 - std::string(entry.name).size(), ' ') << entry.what
        << "\n";
  }
  out << "\nMODEL is a .gguf file or a Hugging Face folder. Flags of a command: skipserve COMMAND "
      << "--help\n";
}

void PrintHelp(const CommandEntry& entry, std::ostream& out) {
  out << entry.what << "\n\nUsage: skipserve " << entry.name << " " << entry.arguments
      << " [flags]\n"
      << FlagsHelp(entry.command);
}

bool AsksFor(const std::vector<std::string>& args, const char* name, const char* letter) {
  const auto end = std::find(args.begin(), args.end(), "--");
  return std::find(args.begin(), end, name) != end || std::find(args.begin(), end, letter) != end;
}

int WrongUsage(const std::string& message, const std::string& help) {
  std::cerr << "skipserve: " << message << "\nSee: skipserve " << help << "--help" << std::endl;
  return 2;
}

int Main(const std::vector<std::string>& args) {
  if (args.empty()) {
    PrintHelp(std::cerr);
    return 2;
  }
  const auto* entry =
      std::find_if(std::begin(kCommands), std::end(kCommands),
                   [&](const CommandEntry& candidate) { return candidate.name == args[0]; });
  if (entry == std::end(kCommands)) {
    if (AsksFor(args, "--version", "-V")) {
      std::cout << "skipserve " << SKIPSERVE_VERSION << std::endl;
      return 0;
    }
    if (args[0] != "help" && !AsksFor(args, "--help", "-h")) {
      return WrongUsage("unknown command '" + args[0] + "'", "");
    }
    PrintHelp(std::cout);
    return 0;
  }
  const std::vector<std::string> rest(args.begin() + 1, args.end());
  if (AsksFor(rest, "--help", "-h")) {
    PrintHelp(*entry, std::cout);
    return 0;
  }
  Options options;
  absl::Status status = ParseOptions(entry->command, rest, &options);
  if (status.ok()) status = SetUpLogging(options.log_level, options.log_format);
  if (!status.ok()) return WrongUsage(std::string(status.message()), args[0] + " ");
  return entry->run(options);
}

}  // namespace
}  // namespace skipserve

int main(int argc, char** argv) {
  try {
    return skipserve::Main({argv + 1, argv + argc});
  } catch (const std::exception& error) {  // out of memory, most likely: one line and no core dump
    std::cerr << "skipserve: " << error.what() << std::endl;
    return 1;
  }
}
