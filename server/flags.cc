// See the header.
#include "server/flags.h"

#include <fstream>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "engine/status_macros.h"
#include "nlohmann/json.hpp"
#include "server/flag_table.h"

namespace skipserve {
namespace {

constexpr size_t kHelpWidth = 96;
constexpr size_t kHelpIndent = 30;

template <typename... Parts>
absl::Status Usage(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

// A name may mean different things to different commands; the given command's comes first.
const Flag* FindFlag(absl::string_view name, Command command) {
  const std::string canonical = absl::StrReplaceAll(name, {{"_", "-"}});
  const Flag* found = nullptr;
  for (const Flag& flag : FlagTable()) {
    if (flag.name != canonical) continue;
    if ((flag.commands & command) != 0) return &flag;
    found = &flag;
  }
  return found;
}

// Flags and arguments as they stand on the command line.
struct CommandLine {
  std::vector<std::pair<const Flag*, std::string>> flags;
  std::vector<std::string> positional;
  std::string config;
};

absl::StatusOr<CommandLine> Split(Command command, const std::vector<std::string>& args) {
  CommandLine line;
  for (size_t i = 0; i < args.size(); ++i) {
    if (args[i] == "--") {
      line.positional.insert(line.positional.end(), args.begin() + i + 1, args.end());
      break;
    }
    if (!absl::StartsWith(args[i], "-") || args[i] == "-") {
      line.positional.push_back(args[i]);
      continue;
    }
    if (!absl::StartsWith(args[i], "--")) {
      return Usage("unknown flag ", args[i], "; flags begin with two dashes");
    }
    const absl::string_view text = absl::string_view(args[i]).substr(2);
    const size_t equals = text.find('=');
    const absl::string_view name = text.substr(0, equals);
    const Flag* flag = FindFlag(name, command);
    const bool is_config = name == "config";
    if (!is_config && flag == nullptr) return Usage("unknown flag --", name);
    if (!is_config && (flag->commands & command) == 0) {
      return Usage("--", flag->name, " is not a flag of this command");
    }
    std::string value;
    if (equals != absl::string_view::npos) {
      value = std::string(text.substr(equals + 1));
    } else if (!is_config && flag->is_switch) {
      value = "true";
    } else if (i + 1 < args.size()) {
      value = args[++i];
    } else {
      return Usage("--", name, " needs a value");
    }
    if (is_config) {
      line.config = std::move(value);
    } else {
      line.flags.emplace_back(flag, std::move(value));
    }
  }
  return line;
}

absl::Status Set(const Flag& flag, absl::string_view value, absl::string_view where,
                 Options* options) {
  const absl::Status status = flag.set(value, *options);
  if (status.ok()) return status;
  return Usage(where, flag.name, ": '", value, "' ", status.message());
}

// A JSON value as it would be written on the command line.
absl::StatusOr<std::string> AsText(const nlohmann::json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean() || value.is_number() || value.is_object()) return value.dump();
  if (!value.is_array()) return absl::InvalidArgumentError("");
  std::string text;
  for (const nlohmann::json& item : value) {
    if (!item.is_number() && !item.is_string()) return absl::InvalidArgumentError("");
    const std::string part = item.is_string() ? item.get<std::string>() : item.dump();
    absl::StrAppend(&text, text.empty() ? "" : ",", part);
  }
  return text;
}

absl::Status ReadConfig(Command command, const std::string& path, Options* options) {
  std::ifstream file(path);
  if (!file) return Usage("--config: cannot read ", path);
  const nlohmann::json json = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false,
                                                    /*ignore_comments=*/true);
  if (!json.is_object()) return Usage("--config: ", path, " is not a JSON object");
  std::set<const Flag*> seen;
  for (const auto& [key, value] : json.items()) {
    const Flag* flag = FindFlag(key, command);
    if (flag == nullptr) return Usage(path, ": unknown key \"", key, "\"");
    if (!seen.insert(flag).second) return Usage(path, ": ", flag->name, " is given twice");
    const absl::StatusOr<std::string> text = AsText(value);
    if (!text.ok()) {
      return Usage(path, ": \"", key, "\" must be a string, a number, true or false");
    }
    RETURN_IF_ERROR(Set(*flag, *text, absl::StrCat(path, ": "), options));
  }
  return absl::OkStatus();
}

absl::Status TakePositional(Command command, std::vector<std::string> positional,
                            Options* options) {
  if (!positional.empty()) {
    options->engine.model_path = positional.front();
    positional.erase(positional.begin());
  }
  if (options->engine.model_path.empty()) {
    return Usage("no model: give a .gguf file or a Hugging Face folder");
  }
  if (command == kCalibrate) {
    if (positional.empty()) return Usage("no texts: give files to calibrate on");
    options->calibrate.texts = std::move(positional);
  } else if (!positional.empty()) {
    return Usage("unexpected argument '", positional.front(), "'");
  }
  return absl::OkStatus();
}

// `text` in lines, right of `head`.
std::string HelpEntry(const std::string& head, const std::string& text) {
  std::string out;
  std::string line = head.size() + 1 < kHelpIndent ? head : "";
  if (line.empty()) absl::StrAppend(&out, head, "\n");
  line.resize(kHelpIndent, ' ');
  for (const absl::string_view word : absl::StrSplit(text, ' ')) {
    if (line.size() + 1 + word.size() > kHelpWidth) {
      absl::StrAppend(&out, line, "\n");
      line.assign(kHelpIndent, ' ');
    }
    absl::StrAppend(&line, line.size() > kHelpIndent ? " " : "", word);
  }
  return absl::StrCat(out, line, "\n");
}

}  // namespace

absl::Status ParseOptions(Command command, const std::vector<std::string>& args, Options* options) {
  ASSIGN_OR_RETURN(CommandLine line, Split(command, args));
  if (!line.config.empty()) RETURN_IF_ERROR(ReadConfig(command, line.config, options));
  for (const auto& [flag, value] : line.flags) {
    RETURN_IF_ERROR(Set(*flag, value, "--", options));
  }
  return TakePositional(command, std::move(line.positional), options);
}

std::string FlagsHelp(Command command) {
  const Options defaults;
  std::string out;
  absl::string_view section;
  for (const Flag& flag : FlagTable()) {
    if ((flag.commands & command) == 0) continue;
    if (section != flag.section) {
      section = flag.section;
      absl::StrAppend(&out, "\n", section, "\n");
    }
    const std::string value = flag.get(defaults);
    std::string help = flag.help;
    if (!value.empty() && !flag.is_switch) absl::StrAppend(&help, " Default: ", value, ".");
    out += HelpEntry(absl::StrCat("  --", flag.name), help);
  }
  absl::StrAppend(&out, "\nFile\n",
                  HelpEntry("  --config",
                            "A JSON file with any of these flags by name, such as "
                            "{\"http-port\": 80}; the command line wins."));
  return out;
}

}  // namespace skipserve
