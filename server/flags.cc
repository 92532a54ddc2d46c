// See the header.
#include "server/flags.h"

#include <boost/program_options.hpp>
#include <fstream>
#include <set>
#include <sstream>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "engine/status_macros.h"
#include "nlohmann/json.hpp"
#include "server/flag_table.h"

namespace skipserve {
namespace {

namespace po = boost::program_options;

constexpr unsigned kHelpWidth = 96;
constexpr char kArguments[] = "arguments";  // where Boost keeps what is no flag

template <typename... Parts>
absl::Status Usage(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

std::string HelpText(const Flag& flag) {
  static const Options defaults;
  const std::string value = flag.get(defaults);
  if (value.empty() || flag.is_switch) return flag.help;
  return absl::StrCat(flag.help, " Default: ", value, ".");
}

// A command's flags by section. Boost keeps every value as text for the table's own readers.
std::vector<po::options_description> Sections(Command command) {
  std::vector<po::options_description> sections;
  absl::string_view name;
  for (const Flag& flag : FlagTable()) {
    if ((flag.commands & command) == 0) continue;
    if (name != flag.section) {
      name = flag.section;
      sections.emplace_back(flag.section, kHelpWidth, kHelpWidth * 2 / 3);
    }
    auto* value = po::value<std::string>()->value_name("VALUE");
    if (flag.is_switch) value->zero_tokens()->implicit_value("true");
    sections.back().add_options()(flag.name.c_str(), value, HelpText(flag).c_str());
  }
  sections.emplace_back("File", kHelpWidth, kHelpWidth * 2 / 3);
  sections.back().add_options()(
      "config", po::value<std::string>()->value_name("FILE"),
      "A JSON file with any of these flags by name, such as {\"http-port\": 80}; the command line "
      "wins.");
  return sections;
}

absl::StatusOr<po::variables_map> ReadCommandLine(Command command,
                                                  const std::vector<std::string>& args) {
  po::options_description all;
  for (const po::options_description& section : Sections(command)) all.add(section);
  all.add_options()(kArguments, po::value<std::vector<std::string>>());
  po::positional_options_description positional;
  positional.add(kArguments, -1);
  using namespace po::command_line_style;  // NOLINT: Boost's names for these bits stand there
  constexpr int style = allow_long | long_allow_adjacent | long_allow_next | allow_short |
                        short_allow_next | allow_dash_for_short;
  po::variables_map values;
  try {
    po::store(po::command_line_parser(args).options(all).positional(positional).style(style).run(),
              values);
  } catch (const po::error& error) {
    return Usage(error.what());
  }
  return values;
}

absl::Status Set(const Flag& flag, absl::string_view value, absl::string_view where,
                 Options* options) {
  const absl::Status status = flag.set(value, *options);
  if (status.ok()) return status;
  return Usage(where, flag.name, ": '", value, "' ", status.message());
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
  nlohmann::json json;
  try {
    json = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/true,
                                 /*ignore_comments=*/true);
  } catch (const nlohmann::json::exception& error) {  // it says the line and what is wrong there
    return Usage("--config: ", path, " is not valid JSON: ", error.what());
  }
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

absl::Status TakeArguments(Command command, std::vector<std::string> arguments, Options* options) {
  if (!arguments.empty()) {
    options->engine.model_path = arguments.front();
    arguments.erase(arguments.begin());
  }
  if (options->engine.model_path.empty()) {
    return Usage("no model: give a .gguf file or a Hugging Face folder");
  }
  if (command == kCalibrate) {
    if (arguments.empty()) return Usage("no texts: give files to calibrate on");
    options->calibrate.texts = std::move(arguments);
  } else if (command == kEval) {
    options->eval.texts = std::move(arguments);
  } else if (!arguments.empty()) {
    return Usage("unexpected argument '", arguments.front(), "'");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ParseOptions(Command command, const std::vector<std::string>& args, Options* options) {
  ASSIGN_OR_RETURN(const po::variables_map values, ReadCommandLine(command, args));
  if (values.count("config") > 0) {
    RETURN_IF_ERROR(ReadConfig(command, values["config"].as<std::string>(), options));
  }
  for (const Flag& flag : FlagTable()) {
    if ((flag.commands & command) == 0 || values.count(flag.name) == 0) continue;
    RETURN_IF_ERROR(Set(flag, values[flag.name].as<std::string>(), "--", options));
  }
  std::vector<std::string> arguments;
  if (values.count(kArguments) > 0) arguments = values[kArguments].as<std::vector<std::string>>();
  return TakeArguments(command, std::move(arguments), options);
}

std::string FlagsHelp(Command command) {
  std::ostringstream out;
  for (const po::options_description& section : Sections(command)) out << "\n" << section;
  return out.str();
}

}  // namespace skipserve
