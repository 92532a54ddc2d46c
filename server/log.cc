// Events travel through spdlog as JSON objects; the formatters below give them their final form,
// beside plain lines.
#include "server/log.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "spdlog/formatter.h"
#include "spdlog/sinks/stdout_sinks.h"

namespace skipserve {
namespace {

using Json = nlohmann::ordered_json;

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json Fields(const spdlog::details::log_msg& msg) {
  const absl::string_view text(msg.payload.data(), msg.payload.size());
  if (!text.empty() && text.front() == '{') {
    Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (json.is_object()) return json;
  }
  return Json{{"message", std::string(text)}};
}

std::string TimeText(const spdlog::details::log_msg& msg) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::FromChrono(msg.time), absl::UTCTimeZone());
}

absl::string_view LevelText(const spdlog::details::log_msg& msg) {
  const auto view = spdlog::level::to_string_view(msg.level);
  return {view.data(), view.size()};
}

// {"time": ..., "level": ..., fields}
class JsonFormatter : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& msg, spdlog::memory_buf_t& out) override {
    Json line = {{"time", TimeText(msg)}, {"level", std::string(LevelText(msg))}};
    line.update(Fields(msg));
    const std::string text = Dump(line) + "\n";
    out.append(text.data(), text.data() + text.size());
  }
  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<JsonFormatter>();
  }
};

// time level event key=value ...
class TextFormatter : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& msg, spdlog::memory_buf_t& out) override {
    std::string line = absl::StrCat(TimeText(msg), " ", LevelText(msg));
    const Json fields = Fields(msg);
    for (const auto& [key, value] : fields.items()) {
      if ((key == "event" || key == "message") && value.is_string()) {
        absl::StrAppend(&line, " ", value.get_ref<const std::string&>());
      } else {
        absl::StrAppend(&line, " ", key, "=", Dump(value));
      }
    }
    line += '\n';
    out.append(line.data(), line.data() + line.size());
  }
  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<TextFormatter>();
  }
};

}  // namespace

absl::Status SetUpLogging(const std::string& level, const std::string& format) {
  const spdlog::level::level_enum parsed = spdlog::level::from_str(level);
  if (parsed == spdlog::level::off && level != "off") {
    return absl::InvalidArgumentError(
        absl::StrCat("log level '", level, "' is none of trace, debug, info, warn, error and off"));
  }
  if (format != "text" && format != "json") {
    return absl::InvalidArgumentError(
        absl::StrCat("log format '", format, "' is neither text nor json"));
  }
  auto logger = std::make_shared<spdlog::logger>("skipserve",
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
  if (format == "json") {
    logger->set_formatter(std::make_unique<JsonFormatter>());
  } else {
    logger->set_formatter(std::make_unique<TextFormatter>());
  }
  logger->set_level(parsed);
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
  return absl::OkStatus();
}

void LogEvent(spdlog::level::level_enum level, const nlohmann::ordered_json& fields) {
  if (!spdlog::should_log(level)) return;
  spdlog::default_logger_raw()->log(level, Dump(fields));
}

}  // namespace skipserve
