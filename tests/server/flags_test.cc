// The command line and the configuration file: what they bind, and what they refuse by name.
#include "server/flags.h"

#include <cstdio>
#include <fstream>
#include <set>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/flag_table.h"

namespace skipserve {
namespace {

using testing::HasSubstr;

std::string Message(const absl::Status& status) { return std::string(status.message()); }

class FlagsTest : public testing::Test {
 protected:
  absl::Status Parse(Command command, std::vector<std::string> args) {
    return ParseOptions(command, args, &options);
  }
  // Into fresh options.
  static absl::Status Try(Command command, const std::vector<std::string>& args) {
    Options fresh;
    return ParseOptions(command, args, &fresh);
  }
  absl::Status Serve(std::vector<std::string> args) {
    args.insert(args.begin(), "m.gguf");
    return Parse(kServe, args);
  }
  std::string Config(const std::string& text) {
    const std::string path = testing::TempDir() + "/skipserve_flags_test.json";
    std::ofstream(path) << text;
    return path;
  }
  Options options;
};

TEST_F(FlagsTest, EverySpellingBinds) {
  const absl::Status status =
      Serve({"--http-port=0", "--grpc-port", "7", "--no-skip", "--drain-seconds", "1.5",
             "--stop-seconds=0.5", "--http-idle-seconds=2.5", "--host", "::1", "--threads=3",
             "--canary=0.02", "--canary-max-kl=0.5", "--canary-hold=90", "--max-token-gap=0.25",
             "--no-prefix-cache", "--prefix-states=bf16", "--no-page"});
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(options.engine.model_path, "m.gguf");
  EXPECT_EQ(options.serve.http_port, 0);
  EXPECT_EQ(options.serve.grpc_port, 7);
  EXPECT_FALSE(options.engine.skip_enabled);
  EXPECT_FALSE(options.serve.http.page);
  EXPECT_EQ(options.serve.drain_seconds, 1.5);
  EXPECT_EQ(options.serve.stop_seconds, 0.5);
  EXPECT_EQ(options.serve.http.idle_timeout, std::chrono::milliseconds(2500));
  EXPECT_EQ(options.serve.host, "::1");
  EXPECT_EQ(options.engine.threads, 3);
  EXPECT_EQ(options.engine.canary.rate, 0.02);
  EXPECT_EQ(options.engine.canary.guard.max_kl, 0.5);
  EXPECT_EQ(options.engine.canary.guard.hold, absl::Seconds(90));
  EXPECT_EQ(options.engine.max_token_gap, absl::Milliseconds(250));
  EXPECT_FALSE(options.engine.prefix_cache);
  EXPECT_EQ(options.engine.prefix_states, "bf16");
}

TEST_F(FlagsTest, WithoutFlagsTheDefaultsHold) {
  ASSERT_TRUE(Serve({}).ok());
  const EngineOptions engine;
  EXPECT_EQ(options.engine.max_queue, engine.max_queue);
  EXPECT_EQ(options.engine.skip_enabled, engine.skip_enabled);
  EXPECT_TRUE(options.engine.prefix_cache);
  EXPECT_EQ(options.engine.max_token_gap, absl::Milliseconds(100));
  EXPECT_EQ(options.serve.grpc_port, 50051);
  EXPECT_EQ(options.serve.http_port, 8080);
  EXPECT_EQ(options.serve.host, "127.0.0.1");
}

TEST_F(FlagsTest, OtherCommandsHaveTheirOwn) {
  ASSERT_TRUE(Parse(kGenerate, {"m", "--file", "doc", "--question=Who?", "--skip",
                                R"({"start": 1, "budgets": [1, 2]})", "--json"})
                  .ok());
  EXPECT_EQ(options.generate.question.document_path, "doc");
  EXPECT_EQ(options.generate.question.question, "Who?");
  EXPECT_EQ(options.generate.skips.size(), 1u);
  EXPECT_TRUE(options.generate.json);
  ASSERT_TRUE(
      Parse(kBench, {"m", "--prompt-lengths", "10,20", "--levels=off,fast", "--json=-"}).ok());
  EXPECT_EQ(options.bench.prompt_lengths, (std::vector<int64_t>{10, 20}));
  EXPECT_EQ(options.bench.levels, (std::vector<std::string>{"off", "fast"}));
  EXPECT_EQ(options.bench.json_path, "-");
  ASSERT_TRUE(Parse(kCalibrate, {"m", "a.txt", "--out=x", "--", "--odd-name"}).ok());
  EXPECT_EQ(options.calibrate.texts, (std::vector<std::string>{"a.txt", "--odd-name"}));
}

TEST_F(FlagsTest, EvalTakesTextsAndFamilies) {
  ASSERT_TRUE(
      Parse(kEval, {"m", "a.txt", "folder", "--policy", R"({"start": 1, "budgets": [1, 2]})",
                    "--tasks=fact,code", "--lengths", "100,200", "--cases=3",
                    "--max-answer-tokens=9", "--no-baselines", "--calibration-tasks", "--seed=7",
                    "--json=out", "--backend=reference", "--skip-file=s"})
          .ok());
  EXPECT_EQ(options.engine.model_path, "m");
  EXPECT_EQ(options.engine.backend, "reference");
  EXPECT_EQ(options.engine.skip_file, "s");
  EXPECT_EQ(options.eval.texts, (std::vector<std::string>{"a.txt", "folder"}));
  EXPECT_EQ(options.eval.policies,
            (std::vector<std::string>{R"({"start": 1, "budgets": [1, 2]})"}));
  EXPECT_EQ(options.eval.tasks, (std::vector<std::string>{"fact", "code"}));
  EXPECT_EQ(options.eval.lengths, (std::vector<int64_t>{100, 200}));
  EXPECT_EQ(options.eval.cases, 3);
  EXPECT_EQ(options.eval.max_answer_tokens, 9);
  EXPECT_TRUE(options.eval.no_baselines);
  EXPECT_TRUE(options.eval.calibration);
  EXPECT_EQ(options.eval.seed, 7u);
  EXPECT_EQ(options.eval.json_path, "out");
}

TEST_F(FlagsTest, EvalWithoutFlagsMeasuresHeldOutTasksWithBaselines) {
  ASSERT_TRUE(Parse(kEval, {"m"}).ok());
  EXPECT_TRUE(options.eval.texts.empty() && options.eval.policies.empty());
  EXPECT_FALSE(options.eval.no_baselines || options.eval.calibration);
  for (const auto& [flag, named] :
       {std::pair<std::string, std::string>{"--lengths=63", "--lengths"},
        {"--lengths=64,x", "--lengths"},
        {"--cases=0", "--cases"},
        {"--max-answer-tokens=129", "--max-answer-tokens"},
        {"--seed=-1", "--seed"},
        {"--max-context=9", "--max-context"}}) {
    const absl::Status status = Try(kEval, {"m", flag});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << flag;
    EXPECT_THAT(Message(status), HasSubstr(named));
  }
}

TEST_F(FlagsTest, WhatIsWrongIsNamed) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"--frobnicate"}, "--frobnicate"},
      {{"--frobnicate=1"}, "--frobnicate"},
      {{"-x"}, "-x"},
      {{"--http-port"}, "--http-port"},
      {{"--http-port=abc"}, "abc"},
      {{"--http-port=70000"}, "--http-port"},
      {{"--http-port=-1"}, "--http-port"},
      {{"--max-queue=1.5"}, "--max-queue"},
      {{"--drain-seconds=nan"}, "--drain-seconds"},
      {{"--canary=1.01"}, "--canary"},
      {{"--canary=-0.1"}, "--canary"},
      {{"--canary=nan"}, "--canary"},
      {{"--canary-max-kl=-1"}, "--canary-max-kl"},
      {{"--canary-hold=0"}, "--canary-hold"},
      {{"--canary-hold=5m"}, "--canary-hold"},
      {{"--drain-seconds=inf"}, "--drain-seconds"},
      {{"--drain-seconds=-1"}, "--drain-seconds"},
      {{"--no-skip=perhaps"}, "--no-skip"},
      {{"--no-prefix-cache=perhaps"}, "--no-prefix-cache"},
      {{"--max-token-gap=0"}, "--max-token-gap"},
      {{"--max-token-gap=100ms"}, "--max-token-gap"},
      {{"--http-port=1", "--http-port=2"}, "--http-port"},
      {{"--http-por=1"}, "--http-por"},
      {{"--question=hm"}, "--question"},
      {{"other.gguf"}, "other.gguf"},
  };
  for (const auto& [args, named] : cases) {
    std::vector<std::string> all = {"m.gguf"};
    all.insert(all.end(), args.begin(), args.end());
    const absl::Status status = Try(kServe, all);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << named;
    EXPECT_THAT(Message(status), HasSubstr(named));
  }
  for (const char* port : {"99999", "-1", "8080x", "1.5", "99999999999999999999"}) {
    EXPECT_EQ(Message(Try(kServe, {"m", absl::StrCat("--http-port=", port)})),
              absl::StrCat("--http-port: '", port, "' is not a whole number from 0 to 65535"));
  }
  EXPECT_THAT(Message(Try(kServe, {"m", "--max-queue=-1"})), HasSubstr("from 0 to 1073741824"));
  EXPECT_THAT(Message(Try(kServe, {"m", "--drain-seconds=x"})),
              HasSubstr("a number from 0 to 86400"));
  EXPECT_THAT(Message(Try(kServe, {})), HasSubstr("model"));
  EXPECT_THAT(Message(Try(kCalibrate, {"m"})), HasSubstr("texts"));
  EXPECT_THAT(Message(Try(kBench, {"m", "--prompt-lengths=5,,6"})), HasSubstr("prompt-lengths"));
}

TEST_F(FlagsTest, AFileGivesFlagsAndTheCommandLineWins) {
  const std::string path = Config(R"({
    // comments are fine
    "model": "from_file.gguf", "http-port": 81, "grpc_port": 82, "no-skip": true,
    "drain-seconds": 0.5, "prompt-lengths": [1, 2], "served-name": "n",
    "max-token-gap": 0.05, "no-prefix-cache": true, "prefix-states": "bf16"})");
  ASSERT_TRUE(Parse(kServe, {"--http-port=90", "--config", path}).ok());
  EXPECT_EQ(options.engine.model_path, "from_file.gguf");
  EXPECT_EQ(options.serve.http_port, 90);
  EXPECT_EQ(options.serve.grpc_port, 82);
  EXPECT_FALSE(options.engine.skip_enabled);
  EXPECT_EQ(options.serve.drain_seconds, 0.5);
  EXPECT_EQ(options.bench.prompt_lengths, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(options.serve.served_name, "n");
  EXPECT_EQ(options.engine.max_token_gap, absl::Milliseconds(50));
  EXPECT_FALSE(options.engine.prefix_cache);
  EXPECT_EQ(options.engine.prefix_states, "bf16");
}

TEST_F(FlagsTest, ABadFileIsNamed) {
  EXPECT_THAT(Message(Serve({"--config=/does/not/exist"})), HasSubstr("/does/not/exist"));
  EXPECT_THAT(Message(Serve({"--config", Config("[1]")})), HasSubstr("JSON object"));
  EXPECT_THAT(Message(Serve({"--config", Config("{\n\"a\": ")})), HasSubstr("valid JSON"));
  EXPECT_THAT(Message(Serve({"--config", Config("{\n\"a\": ")})), HasSubstr("line 2"));
  EXPECT_THAT(Message(Serve({"--config", Config("{\"drain-seconds\": 1e999}")})),
              HasSubstr("valid JSON"));
  EXPECT_THAT(Message(Serve({"--config", Config(R"({"htp-port": 1})")})), HasSubstr("htp-port"));
  EXPECT_THAT(Message(Serve({"--config", Config(R"({"http-port": "x"})")})),
              HasSubstr("http-port"));
  EXPECT_THAT(Message(Serve({"--config", Config(R"({"http-port": null})")})),
              HasSubstr("http-port"));
  EXPECT_THAT(Message(Serve({"--config", Config(R"({"http-port": 1, "http_port": 2})")})),
              HasSubstr("twice"));
}

TEST(FlagTableTest, EveryFlagRoundTripsAndIsExplained) {
  for (const Command command : {kServe, kGenerate, kCalibrate, kInspect, kBench, kEval}) {
    const std::string help = FlagsHelp(command);
    std::set<std::string> names;
    for (const Flag& flag : FlagTable()) {
      if ((flag.commands & command) == 0) continue;
      EXPECT_TRUE(names.insert(flag.name).second) << flag.name << " is there twice";
      EXPECT_THAT(help, HasSubstr("--" + flag.name));
      Options options;
      const std::string value = flag.get(options);
      if (value.empty()) continue;
      EXPECT_TRUE(flag.set(value, options).ok()) << flag.name << " refuses its default " << value;
      EXPECT_EQ(flag.get(options), value) << flag.name;
    }
    for (size_t at = 0; at < help.size();) {
      const size_t end = help.find('\n', at);
      EXPECT_LE(end - at, 100u) << help.substr(at, end - at);
      at = end + 1;
    }
  }
}

}  // namespace
}  // namespace skipserve
