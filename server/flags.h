// From the command line and a JSON file to Options: one table binds a flag's name, its field and
// its help. No globals, no exits: whoever calls decides. Pure but for reading the configuration
// file.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/options.h"

namespace skipserve {

enum Command : unsigned {
  kServe = 1,
  kGenerate = 2,
  kCalibrate = 4,
  kInspect = 8,
  kBench = 16,
  kEval = 32,
};

// `args` are those after the command's name. A flag is --name=value, --name value, or --name for a
// switch. --config FILE gives a JSON object of flags by name ("_" or "-"), which the command line
// overrides; it may have flags of other commands, so that one file serves all.
// INVALID_ARGUMENT names what is unknown, misplaced or wrong.
absl::Status ParseOptions(Command command, const std::vector<std::string>& args, Options* options);

// A command's flags by section, with help and default, for people.
std::string FlagsHelp(Command command);

}  // namespace skipserve
