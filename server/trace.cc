#include "server/trace.h"

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "nlohmann/json.hpp"
#include "spdlog/async.h"
#include "spdlog/sinks/basic_file_sink.h"
#include "spdlog/spdlog.h"

namespace skipserve {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kVersion = 1;
constexpr size_t kLinesInMemory = 4096;  // beyond, the oldest are lost rather than a step held up
constexpr size_t kMaxKnown = 1 << 20;    // keys or clients; then all are new once more

// Calls visit(name, field) for each of the options.
template <typename Options, typename Visit>
void EachOption(Options& o, Visit visit) {
  visit("num_blocks", o.num_blocks);
  visit("block_tokens", o.block_tokens);
  visit("layers", o.layers);
  visit("max_running", o.max_running);
  visit("max_prefilling", o.max_prefilling);
  visit("max_queue", o.max_queue);
  visit("max_queue_tokens", o.max_queue_tokens);
  visit("max_pinned_blocks", o.max_pinned_blocks);
  visit("promised_new_tokens", o.promised_new_tokens);
  visit("max_idle", o.max_idle);
  visit("min_chunk_tokens", o.min_chunk_tokens);
  visit("min_slice_rows", o.min_slice_rows);
  visit("chunk_tokens", o.chunk_tokens);
  visit("busy_step_seconds", o.busy_step_seconds);
  visit("idle_step_seconds", o.idle_step_seconds);
  visit("shortest_first", o.shortest_first);
  visit("state_blocks", o.state_blocks);
  visit("cost", o.cost.amounts);
}

// A layer's figures in the order of its line.
template <typename Layer, typename Visit>
void EachFigure(Layer& layer, Visit visit) {
  visit(layer.rows);
  visit(layer.key_flops);
  visit(layer.probe_flops);
  visit(layer.ffn_probe_flops);
  visit(layer.attention_flops_per_row);
  visit(layer.attention_flops_per_pair);
  visit(layer.ffn_flops_per_row);
}

Json ToJson(const SkipLayer& layer) {
  Json figures = Json::array();
  EachFigure(layer, [&](const auto& figure) { figures.push_back(figure); });
  return figures;
}

SkipLayer ToLayer(const Json& json) {
  SkipLayer layer;
  size_t i = 0;
  EachFigure(layer, [&](auto& figure) { json.at(i++).get_to(figure); });
  return layer;
}

Scheduler::Options ToOptions(const Json& json) {
  if (json.at("trace") != kVersion) throw std::runtime_error("a trace of another version");
  Scheduler::Options options;
  EachOption(options,
             [&](const char* name, auto& field) { json.at("scheduler").at(name).get_to(field); });
  return options;
}

absl::StatusCode ToCode(const std::string& name) {
  for (int code = 0; code <= static_cast<int>(absl::StatusCode::kUnauthenticated); ++code) {
    const auto status = static_cast<absl::StatusCode>(code);
    if (absl::StatusCodeToString(status) == name) return status;
  }
  throw std::runtime_error(absl::StrCat("no status is named ", name));
}

// Numbers that follow one another, as [first, how many].
void AppendKey(Json& runs, int64_t number) {
  if (!runs.empty()) {
    Json& last = runs.back();
    if (last[0].get<int64_t>() + last[1].get<int64_t>() == number) {
      last[1] = last[1].get<int64_t>() + 1;
      return;
    }
  }
  runs.push_back({number, 1});
}

// What layers of a prompt cache follows from the rest of its line.
std::vector<int64_t> KvTokens(const SequenceShape& shape, int32_t layers) {
  std::vector<int64_t> tokens(layers, 0);
  std::fill_n(tokens.begin(), shape.trunk_layers, shape.prompt_tokens);
  for (size_t i = 0; i < shape.skip_layers.size(); ++i) {
    tokens.at(shape.trunk_layers + i) = shape.skip_layers[i].rows;
  }
  return tokens;
}

RequestTrace ToRequest(const Json& json, const Scheduler::Options& options) {
  RequestTrace trace;
  trace.arrived = absl::UnixEpoch() + absl::Seconds(json.at("at").get<double>());
  trace.ttft = absl::Seconds(json.at("ttft").get<double>());
  trace.total = absl::Seconds(json.at("total").get<double>());
  trace.status = ToCode(json.at("status").get<std::string>());
  json.at("new_tokens").get_to(trace.new_tokens);
  json.at("cost").get_to(trace.cost.amounts);
  SequenceShape& shape = trace.shape;
  json.at("prompt_tokens").get_to(shape.prompt_tokens);
  json.at("max_new_tokens").get_to(shape.max_new_tokens);
  json.at("trunk_layers").get_to(shape.trunk_layers);
  json.at("trunk_flops").at(0).get_to(shape.trunk_flops_per_token);
  json.at("trunk_flops").at(1).get_to(shape.trunk_flops_per_pair);
  json.at("prefix_only").get_to(shape.prefix_only);
  json.at("priority").get_to(shape.priority);
  shape.client = std::to_string(json.at("client").get<int64_t>());
  if (trace.new_tokens > shape.max_new_tokens) {
    throw std::runtime_error("more new tokens than it may have");
  }
  if (shape.trunk_layers < 0 || shape.trunk_layers > options.layers) {
    throw std::runtime_error("trunk_layers is out of range");
  }
  for (const Json& layer : json.at("skip_layers")) shape.skip_layers.push_back(ToLayer(layer));
  shape.kv_prompt_tokens = KvTokens(shape, options.layers);
  for (const Json& run : json.at("blocks")) {
    for (int64_t i = 0; i < run.at(1).get<int64_t>(); ++i) {
      if (static_cast<int64_t>(shape.prefix_keys.size()) * options.block_tokens >=
          shape.prompt_tokens) {
        throw std::runtime_error("more blocks than the prompt has");
      }
      shape.prefix_keys.push_back({0, static_cast<uint64_t>(run.at(0).get<int64_t>() + i)});
    }
  }
  return trace;
}

}  // namespace

absl::StatusOr<std::unique_ptr<TraceFile>> TraceFile::Create(const std::string& path) {
  try {
    auto pool = std::make_shared<spdlog::details::thread_pool>(kLinesInMemory, 1);
    auto file = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path, /*truncate=*/true);
    auto lines = std::make_shared<spdlog::async_logger>(
        "trace", std::move(file), pool, spdlog::async_overflow_policy::overrun_oldest);
    lines->set_pattern("%v");
    lines->flush_on(spdlog::level::info);
    return std::unique_ptr<TraceFile>(new TraceFile(std::move(pool), std::move(lines)));
  } catch (const spdlog::spdlog_ex& error) {
    return absl::InvalidArgumentError(absl::StrCat("--record-trace: ", error.what()));
  }
}

TraceFile::~TraceFile() {
  if (const size_t lost = pool_->overrun_counter(); lost > 0) {
    spdlog::warn("the trace lacks {} lines: its disk was too slow", lost);
  }
}

void TraceFile::OnOpen(const Scheduler::Options& options) {
  Json line = {{"trace", kVersion}, {"scheduler", Json::object()}};
  EachOption(options,
             [&](const char* name, const auto& field) { line["scheduler"][name] = field; });
  lines_->info(line.dump());
  absl::MutexLock lock(&mutex_);
  opened_ = absl::Now();
}

int64_t TraceFile::Number(const std::string& client) {
  if (clients_.size() >= kMaxKnown) clients_.clear();
  const auto [it, fresh] = clients_.emplace(client, next_client_);
  if (fresh) ++next_client_;
  return it->second;
}

int64_t TraceFile::Number(const PrefixKey& key) {
  if (keys_.size() >= kMaxKnown) keys_.clear();
  const auto [it, fresh] = keys_.emplace(key, next_key_);
  if (fresh) ++next_key_;
  return it->second;
}

void TraceFile::OnRequest(const RequestTrace& trace) {
  const SequenceShape& shape = trace.shape;
  absl::MutexLock lock(&mutex_);
  Json line = {{"at", absl::ToDoubleSeconds(trace.arrived - opened_)},
               {"status", absl::StatusCodeToString(trace.status)},
               {"prompt_tokens", shape.prompt_tokens},
               {"max_new_tokens", shape.max_new_tokens},
               {"new_tokens", trace.new_tokens},
               {"ttft", absl::ToDoubleSeconds(trace.ttft)},
               {"total", absl::ToDoubleSeconds(trace.total)},
               {"client", Number(shape.client)},
               {"priority", shape.priority},
               {"prefix_only", shape.prefix_only},
               {"trunk_layers", shape.trunk_layers},
               {"trunk_flops", {shape.trunk_flops_per_token, shape.trunk_flops_per_pair}},
               {"skip_layers", Json::array()},
               {"blocks", Json::array()},
               {"cost", trace.cost.amounts}};
  for (const SkipLayer& layer : shape.skip_layers) line["skip_layers"].push_back(ToJson(layer));
  for (const PrefixKey& key : shape.prefix_keys) AppendKey(line["blocks"], Number(key));
  lines_->info(line.dump());
}

absl::Status SetOption(absl::string_view name, absl::string_view value,
                       Scheduler::Options& options) {
  bool known = false;
  try {
    EachOption(options, [&](const char* option, auto& field) {
      if (name != option) return;
      Json::parse(value).get_to(field);
      known = true;
    });
  } catch (const nlohmann::json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": ", error.what()));
  }
  return known ? absl::OkStatus()
               : absl::InvalidArgumentError(absl::StrCat("no option is named ", name));
}

absl::StatusOr<Trace> ReadTrace(const std::string& path) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat("cannot read ", path));
  Trace trace;
  int64_t number = 0;
  for (std::string line; std::getline(file, line);) {
    const bool cut_off = file.eof();  // no newline behind it
    ++number;
    try {
      const Json json = Json::parse(line);
      if (number == 1) {
        trace.options = ToOptions(json);
        RETURN_IF_ERROR(Scheduler::CheckOptions(trace.options));
      } else {
        trace.requests.push_back(ToRequest(json, trace.options));
      }
    } catch (const std::exception& error) {
      if (cut_off && number > 1) break;
      return absl::InvalidArgumentError(absl::StrCat(path, ", line ", number, ": ", error.what()));
    }
  }
  if (number == 0) return absl::InvalidArgumentError(absl::StrCat(path, " is empty"));
  std::stable_sort(
      trace.requests.begin(), trace.requests.end(),
      [](const RequestTrace& a, const RequestTrace& b) { return a.arrived < b.arrived; });
  return trace;
}

}  // namespace skipserve
