// A recorded trace: what the engine told is in the file, no more and no less, and can be lived
// again.
#include "server/trace.h"

#include <filesystem>
#include <fstream>
#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "server/observers.h"
#include "tests/scheduler/replay.h"
#include "tests/support/engine_caller.h"

namespace skipserve::testing {
namespace {

using ::testing::HasSubstr;

class Told : public EngineObserver {
 public:
  void OnOpen(const Scheduler::Options& options) override { options_ = options; }
  void OnRequest(const RequestTrace& trace) override {
    absl::MutexLock lock(&mutex_);
    requests_.push_back(trace);
  }
  Scheduler::Options options_;
  std::vector<RequestTrace> requests_;

 private:
  absl::Mutex mutex_;
};

std::string Path() { return std::filesystem::path(::testing::TempDir()) / "requests.trace"; }

std::vector<std::string> Lines(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

// The first of all keys of all requests that equals this one: what the numbers in a file keep.
std::vector<size_t> Pattern(const std::vector<RequestTrace>& requests) {
  std::unordered_map<PrefixKey, size_t, PrefixKeyHash> first;
  std::vector<size_t> pattern;
  for (const RequestTrace& request : requests) {
    for (const PrefixKey& key : request.shape.prefix_keys) {
      pattern.push_back(first.emplace(key, first.size()).first->second);
    }
  }
  return pattern;
}

void ExpectEqual(const RequestTrace& read, const RequestTrace& told, absl::Time opened) {
  EXPECT_LT(absl::AbsDuration((read.arrived - absl::UnixEpoch()) - (told.arrived - opened)),
            absl::Seconds(1));
  EXPECT_LT(absl::AbsDuration(read.ttft - told.ttft), absl::Microseconds(1));
  EXPECT_LT(absl::AbsDuration(read.total - told.total), absl::Microseconds(1));
  EXPECT_EQ(read.status, told.status);
  EXPECT_EQ(read.new_tokens, told.new_tokens);
  EXPECT_EQ(read.cost.amounts, told.cost.amounts);
  const SequenceShape &a = read.shape, &b = told.shape;
  EXPECT_EQ(a.prompt_tokens, b.prompt_tokens);
  EXPECT_EQ(a.max_new_tokens, b.max_new_tokens);
  EXPECT_EQ(a.trunk_layers, b.trunk_layers);
  EXPECT_EQ(a.kv_prompt_tokens, b.kv_prompt_tokens);
  EXPECT_EQ(a.trunk_flops_per_token, b.trunk_flops_per_token);
  EXPECT_EQ(a.trunk_flops_per_pair, b.trunk_flops_per_pair);
  EXPECT_EQ(a.prefix_keys.size(), b.prefix_keys.size());
  EXPECT_EQ(a.prefix_only, b.prefix_only);
  EXPECT_EQ(a.priority, b.priority);
  ASSERT_EQ(a.skip_layers.size(), b.skip_layers.size());
  for (size_t i = 0; i < a.skip_layers.size(); ++i) {
    EXPECT_EQ(a.skip_layers[i].rows, b.skip_layers[i].rows);
    EXPECT_EQ(a.skip_layers[i].key_flops, b.skip_layers[i].key_flops);
    EXPECT_EQ(a.skip_layers[i].probe_flops, b.skip_layers[i].probe_flops);
    EXPECT_EQ(a.skip_layers[i].ffn_probe_flops, b.skip_layers[i].ffn_probe_flops);
    EXPECT_EQ(a.skip_layers[i].attention_flops_per_row, b.skip_layers[i].attention_flops_per_row);
    EXPECT_EQ(a.skip_layers[i].attention_flops_per_pair, b.skip_layers[i].attention_flops_per_pair);
    EXPECT_EQ(a.skip_layers[i].ffn_flops_per_row, b.skip_layers[i].ffn_flops_per_row);
  }
}

// Dense and skipping requests of two clients, a prefix, one that is cancelled, one that is refused.
void Live(Engine& engine) {
  GenerateRequest first = SomeRequest(100, 1);
  first.client = "ada";
  Answer(engine, first);
  first.client = "bob";
  first.prompt.resize(90);  // begins as the one before
  first.priority = 7;
  Answer(engine, first);
  GenerateRequest skipping = SomeRequest(150, 4, 5);
  skipping.skip = Layered();
  Answer(engine, skipping);
  PrefixRequest prefix;
  prefix.name = "a document";
  prefix.tokens = SomeRequest(96, 9).prompt;
  auto read = std::make_shared<CollectingSink>();
  ASSERT_TRUE(engine.ReadPrefix(prefix, read).ok());
  EXPECT_TRUE(read->Wait().status.ok());
  ASSERT_TRUE(engine.DropPrefix("", prefix.name).ok());
  auto cancelled = std::make_shared<CollectingSink>();
  const auto id = engine.Submit(SomeRequest(40, 5, 400), cancelled);
  cancelled->WaitForFirstToken();
  engine.Cancel(*id);
  cancelled->Wait();
  GenerateRequest late = SomeRequest(60, 6);
  late.deadline = absl::Now();
  EXPECT_EQ(engine.Submit(late, read).status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(TraceTest, TheFileHasWhatTheEngineToldAndNoText) {
  Told told;
  const absl::Time opened = absl::Now();
  {
    auto file = TraceFile::Create(Path());
    ASSERT_TRUE(file.ok()) << file.status();
    Observers both({file->get(), &told});
    EngineOptions options = TinyOptions();
    options.observer = &both;
    auto engine = OpenEngine(options);
    ASSERT_TRUE(engine.ok()) << engine.status();
    Live(**engine);
  }
  const absl::StatusOr<Trace> trace = ReadTrace(Path());
  ASSERT_TRUE(trace.ok()) << trace.status();
  EXPECT_EQ(trace->options.num_blocks, told.options_.num_blocks);
  EXPECT_EQ(trace->options.layers, told.options_.layers);
  EXPECT_EQ(trace->options.busy_step_seconds, told.options_.busy_step_seconds);
  EXPECT_EQ(trace->options.shortest_first, told.options_.shortest_first);
  EXPECT_EQ(trace->options.cost.amounts, told.options_.cost.amounts);
  ASSERT_EQ(told.requests_.size(), 6u);
  ASSERT_EQ(trace->requests.size(), 6u);
  for (size_t i = 0; i < 6; ++i) {
    SCOPED_TRACE(i);
    ExpectEqual(trace->requests[i], told.requests_[i], opened);
  }
  EXPECT_EQ(Pattern(trace->requests), Pattern(told.requests_));
  EXPECT_EQ(trace->requests[0].shape.client, "1");
  EXPECT_EQ(trace->requests[1].shape.client, "2");
  EXPECT_FALSE(trace->requests[2].shape.skip_layers.empty());
  EXPECT_TRUE(trace->requests[3].shape.prefix_only);
  EXPECT_EQ(trace->requests[4].status, absl::StatusCode::kCancelled);

  // Every string in it is the name of a status.
  for (const std::string& line : Lines(Path())) {
    const nlohmann::json flat = nlohmann::json::parse(line).flatten();
    for (const auto& [name, value] : flat.items()) {
      EXPECT_TRUE(!value.is_string() || name == "/status") << name;
    }
  }
  const ReplayResult again = Replay(*trace, trace->options);
  EXPECT_TRUE(again.status.ok()) << again.status;
  EXPECT_EQ(again.ended, 6);
  EXPECT_EQ(again.refused, 0);
  EXPECT_EQ(again.ttft.size(), 4u);
  EXPECT_GE(again.cached_tokens, 64) << "the second prompt begins as the first";
}

TEST(TraceTest, WhatCannotBeWrittenOrReadIsSaid) {
  EXPECT_EQ(TraceFile::Create("/proc/no/such/place").status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadTrace("/proc/no/such/place").status().code(), absl::StatusCode::kNotFound);
  const auto read = [](const std::string& text) {
    std::ofstream(Path()) << text;
    return ReadTrace(Path()).status();
  };
  EXPECT_THAT(read("").message(), HasSubstr("is empty"));
  EXPECT_THAT(read("{\"trace\": 2}\n").message(), HasSubstr("line 1: a trace of another version"));
  EXPECT_THAT(read("no JSON\n").message(), HasSubstr("line 1"));

  Told told;
  {
    auto file = TraceFile::Create(Path());
    Observers both({file->get(), &told});
    EngineOptions options = TinyOptions();
    options.observer = &both;
    auto engine = OpenEngine(options);
    Answer(**engine, SomeRequest(50, 1));
  }
  const std::vector<std::string> lines = Lines(Path());
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_THAT(read(lines[0] + "\n{\"at\": 1}\n").message(), HasSubstr("line 2"));
  const auto changed = [&](const std::string& name, const nlohmann::json& value) {
    nlohmann::json line = nlohmann::json::parse(lines[1]);
    line[name] = value;
    return read(lines[0] + "\n" + line.dump() + "\n").message();
  };
  EXPECT_THAT(changed("status", "FINE"), HasSubstr("no status is named FINE"));
  EXPECT_THAT(changed("trunk_layers", 99), HasSubstr("trunk_layers is out of range"));
  EXPECT_THAT(changed("new_tokens", 999), HasSubstr("more new tokens than it may have"));
  EXPECT_THAT(changed("blocks", {{1, 999}}), HasSubstr("more blocks than the prompt has"));
  EXPECT_THAT(changed("skip_layers", {{1, 2}}), HasSubstr("line 2"));
  EXPECT_THAT(changed("skip_layers", {{1, 2, 3, 4, 5, 6, 7}}), HasSubstr("line 2"));
  // As after kill -9.
  EXPECT_TRUE(read(lines[0] + "\n" + lines[1] + "\n{\"at\": 1").ok());
  EXPECT_EQ(ReadTrace(Path())->requests.size(), 1u);

  Scheduler::Options options;
  EXPECT_TRUE(SetOption("max_running", "3", options).ok());
  EXPECT_EQ(options.max_running, 3);
  EXPECT_TRUE(SetOption("shortest_first", "false", options).ok());
  EXPECT_FALSE(options.shortest_first);
  EXPECT_THAT(SetOption("walk", "3", options).message(), HasSubstr("no option is named walk"));
  EXPECT_THAT(SetOption("max_running", "many", options).message(), HasSubstr("max_running"));
}

}  // namespace
}  // namespace skipserve::testing
