// `skipserve eval` on the tiny model: every case and summary is there, figures fit each other, and
// mistakes are named.
#include <set>
#include <tuple>

#include "engine/model_file.h"
#include "engine/skip/skip_file.h"
#include "server/eval.h"
#include "tests/server/tools_fixture.h"

namespace skipserve {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class EvalTest : public testing::ToolsTest {
 protected:
  EvalTest() {
    const EngineOptions tiny = testing::TinyOptions();
    job_.lab.model_path = tiny.model_path;
    job_.lab.backend = tiny.backend;
    job_.lab.dtype = tiny.dtype;
    job_.lab.max_tokens = 1;  // the lengths decide
    for (int i = 0; i < 6; ++i) {
      std::string text;
      for (int line = 0; line < 300; ++line) {
        text += "Line " + std::to_string(line) + " of document " + std::to_string(i) +
                " says nothing of any use.\n";
      }
      job_.texts.push_back(Write("document" + std::to_string(i) + ".txt", text));
    }
    job_.policies = {testing::kTinyPolicy};
    job_.tasks = {"continuation", "fact"};
    job_.lengths = {256, 512};
    job_.cases = 2;
    job_.max_answer_tokens = 4;
    job_.json_path = "-";
  }

  json Run(const EvalJob& job) {
    EXPECT_EQ(Eval(job, io()), 0) << Err();
    return OutJson();
  }
  std::string ErrorOf(const EvalJob& job) {
    EXPECT_EQ(Eval(job, io()), 1);
    EXPECT_EQ(Out(), "");
    return Err();
  }

  EvalJob job_;
};

// The tiny model's own levels score by product, and there is no file with proxies beside it.
TEST_F(EvalTest, WithoutProxiesALevelIsWhatItIsInAServer) {
  job_.policies = {"moderate"};
  job_.no_baselines = true;
  const json out = Run(job_);
  EXPECT_EQ(out["readings"][1]["policy"]["ffn_score"], "attention");
  ASSERT_EQ(out["notes"].size(), 1);
  EXPECT_THAT(out["notes"][0].get<std::string>(),
              AllOf(HasSubstr("moderate"), HasSubstr("proxies")));
  job_.json_path = "";
  ASSERT_EQ(Eval(job_, io()), 0) << Err();
  EXPECT_THAT(Out(), HasSubstr("no FFN proxies"));
  job_.policies = {R"({"start": 2, "stage_ends": [3], "budgets": [0.5], "keeps": [0.5]})"};
  EXPECT_THAT(ErrorOf(job_), HasSubstr("proxies")) << "what is asked for in full is not changed";
}

TEST_F(EvalTest, JsonHasEveryCaseAndSummary) {
  const json out = Run(job_);
  ASSERT_TRUE(out.is_object());
  EXPECT_EQ(out["model"]["backend"], "reference");
  EXPECT_EQ(out["seed"], 1);
  EXPECT_EQ(out["held_out"], true);
  EXPECT_TRUE(out["left_out"].empty()) << out["left_out"];
  ASSERT_EQ(out["readings"].size(), 4u);
  const std::vector<std::string> methods = {"dense", "skip", "last", "prune_once"};
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(out["readings"][i]["method"], methods[i]);
  EXPECT_EQ(out["readings"][1]["policy"]["stage_ends"], json::array({3}));

  std::set<std::tuple<std::string, int64_t, int64_t>> seen;
  for (const json& c : out["cases"]) {
    EXPECT_TRUE(seen.emplace(c["task"].get<std::string>(), c["tokens"].get<int64_t>(),
                             c["index"].get<int64_t>())
                    .second);
    EXPECT_LE(c["prompt_tokens"], c["tokens"]);
    EXPECT_GT(c["prompt_tokens"], c["tokens"].get<int64_t>() - 17);
    ASSERT_EQ(c["outcomes"].size(), 4u);
    EXPECT_EQ(c["outcomes"][0]["kl"], 0);
    EXPECT_EQ(c["outcomes"][0]["flop_bound"], 1);
    for (const json& o : c["outcomes"]) {
      EXPECT_EQ(o["answer_tokens"], c["outcomes"][0]["answer_tokens"]);
      EXPECT_LE(o["agreed"], o["answer_tokens"]);
      EXPECT_EQ(o["loss"] > 0, c["task"] == "continuation");
      EXPECT_EQ(o["score"].is_null(), c["task"] == "continuation");
    }
    EXPECT_GT(c["outcomes"][1]["flop_bound"], 1);
    for (size_t i = 2; i < 4; ++i) {
      EXPECT_GE(c["outcomes"][i]["flop_bound"], c["outcomes"][1]["flop_bound"]);
    }
  }
  EXPECT_EQ(seen.size(), 8u);

  ASSERT_EQ(out["summaries"].size(), 16u);
  for (size_t i = 0; i < 16; ++i) {
    const json& s = out["summaries"][i];
    EXPECT_EQ(s["tokens"], i < 8 ? 256 : 512);
    EXPECT_EQ(s["task"], i % 8 < 4 ? "continuation" : "fact");
    EXPECT_EQ(s["reading"], out["readings"][i % 4]["name"]);
    EXPECT_EQ(s["cases"], 2);
    EXPECT_EQ(s["loss"].is_null(), s["task"] != "continuation");
    EXPECT_EQ(s["score"].is_null(), s["task"] == "continuation");
    for (const char* name : {"kl", "agreement", "score", "loss"}) {
      if (s[name].is_null()) continue;
      EXPECT_LE(s[name]["low"], s[name]["mean"]) << name;
      EXPECT_GE(s[name]["high"], s[name]["mean"]) << name;
    }
    double kl = 0, tokens = 0;
    for (const json& c : out["cases"]) {
      if (c["task"] != s["task"] || c["tokens"] != s["tokens"]) continue;
      kl += c["outcomes"][i % 4]["kl"].get<double>();
      tokens += c["outcomes"][i % 4]["answer_tokens"].get<double>();
    }
    EXPECT_NEAR(s["kl"]["mean"], kl / tokens, 1e-12);
  }
}

TEST_F(EvalTest, TheSameJobGivesTheSameFigures) {
  const auto figures = [this](const EvalJob& job) {
    json out = Run(job);
    for (json& c : out["cases"]) {
      for (json& o : c["outcomes"]) o.erase("prefill_seconds");
    }
    return out["cases"];
  };
  job_.lengths = {256};
  job_.tasks = {"fact"};
  const json first = figures(job_);
  EXPECT_EQ(figures(job_), first);
  EvalJob other = job_;
  other.seed = 2;
  EXPECT_NE(figures(other), first);
  other = job_;
  other.calibration = true;
  EXPECT_NE(figures(other), first);
  EXPECT_EQ(Run(other)["held_out"], false);
}

TEST_F(EvalTest, ATableOfOneLineAReading) {
  job_.lengths = {256};
  job_.cases = 1;
  job_.json_path = "";
  ASSERT_EQ(Eval(job_, io()), 0) << Err();
  const std::string table = Out();
  for (const char* reading : {"custom0", "last tokens, as custom0", "pruned once, as custom0"}) {
    const size_t at = table.find(reading);
    ASSERT_NE(at, std::string::npos) << reading << table;
    EXPECT_THAT(table.substr(at, table.find('\n', at) - at), HasSubstr("x ")) << reading;
  }
}

TEST_F(EvalTest, TableAndFile) {
  job_.lengths = {256};
  job_.cases = 1;
  job_.no_baselines = true;
  job_.json_path = Path("out.json");
  job_.policies = {"@" + Write("policies.json", std::string("{\"one\": ") + testing::kTinyPolicy +
                                                    ", \"two\": " + testing::kTinyPolicy + "}")};
  ASSERT_EQ(Eval(job_, io()), 0) << Err();
  const std::string table = Out();
  for (const char* part : {"fact", "continuation", "FLOP bound", "agreement", "one", "two", "dense",
                           "Held-out tasks."}) {
    EXPECT_THAT(table, HasSubstr(part));
  }
  EXPECT_THAT(table, AllOf(Not(HasSubstr("last tokens")), Not(HasSubstr("pruned once"))));
  const json out = json::parse(testing::ReadAll(job_.json_path), nullptr, false);
  EXPECT_EQ(out["readings"].size(), 3u);
  EXPECT_EQ(out["cases"].size(), 2u);
  job_.calibration = true;
  ASSERT_EQ(Eval(job_, io()), 0) << Err();
  EXPECT_THAT(Out(), HasSubstr("not to be reported"));
}

TEST_F(EvalTest, LevelsAreMeasuredByNameAndAllByDefault) {
  job_.lab.model_path = TinyCopy();
  const auto model = ModelFile::Open(job_.lab.model_path);
  ASSERT_TRUE(model.ok()) << model.status();
  SkipFile file;
  file.fingerprint = (*model)->fingerprint();
  file.layers = (*model)->config().layers;
  file.width = (*model)->config().width;
  file.ffn_width = (*model)->config().ffn_width;
  const SkipLevel half = {"half", *PolicyFromJson(json::parse(testing::kTinyPolicy))};
  SkipLevel once = half;
  once.name = "once";
  once.policy.probe_layers = {2};
  file.settings.levels = {half, once};
  ASSERT_TRUE(WriteSkipFile(Path("tiny.gguf.skip"), file).ok());
  job_.tasks = {"continuation"};
  job_.lengths = {256};
  job_.cases = 1;
  job_.no_baselines = true;
  job_.policies = {};
  json readings = Run(job_)["readings"];
  ASSERT_EQ(readings.size(), 3u);
  EXPECT_EQ(readings[1]["name"], "half");
  EXPECT_EQ(readings[2]["name"], "once");
  job_.policies = {"once", testing::kTinyPolicy};
  readings = Run(job_)["readings"];
  ASSERT_EQ(readings.size(), 3u);
  EXPECT_EQ(readings[1]["policy"]["probe_layers"], json::array({2}));
  EXPECT_EQ(readings[2]["policy"], PolicyToJson(half.policy));
  job_.policies = {"twice"};
  EXPECT_THAT(ErrorOf(job_), HasSubstr("half, once"));
}

// A family that has no document of its kind is left out with the reason, and the others go on.
TEST_F(EvalTest, WhatCannotBeMadeIsLeftOut) {
  job_.tasks = {"code", "continuation"};
  job_.lengths = {256};
  job_.no_baselines = true;
  const json out = Run(job_);
  EXPECT_EQ(out["cases"].size(), 2u);
  ASSERT_EQ(out["left_out"].size(), 1u);
  EXPECT_THAT(out["left_out"][0].get<std::string>(), HasSubstr("code at 256 tokens: "));
  job_.tasks = {"code"};
  EXPECT_THAT(ErrorOf(job_), AllOf(HasSubstr("no task could be made"), HasSubstr("code at 256")));
}

TEST_F(EvalTest, MistakesAreNamed) {
  const auto with_policy = [this](const std::string& policy) {
    EvalJob job = job_;
    job.policies = {policy};
    return job;
  };
  EXPECT_THAT(ErrorOf(with_policy("nosuch")), HasSubstr("no level \"nosuch\""));
  EXPECT_THAT(ErrorOf(with_policy("{\"start\": ")), HasSubstr("--policy is not valid JSON"));
  EXPECT_THAT(ErrorOf(with_policy(R"({"start": 2})")), HasSubstr("\"stage_ends\" is missing"));
  EXPECT_THAT(ErrorOf(with_policy("@" + Path("nowhere"))), HasSubstr("nowhere"));
  EXPECT_THAT(ErrorOf(with_policy("@" + Write("bad.json", "[1,"))),
              HasSubstr("bad.json is not valid JSON"));
  EXPECT_THAT(ErrorOf(with_policy("@" + Write("list.json", "[1]"))), HasSubstr("list.json"));
  EXPECT_THAT(ErrorOf(with_policy("@" + Write("one.json", R"({"mine": {"start": 2}})"))),
              AllOf(HasSubstr("one.json"), HasSubstr("\"mine\""), HasSubstr("stage_ends")));
  EXPECT_THAT(ErrorOf(with_policy(
                  R"({"start": 2, "stage_ends": [6], "budgets": [0.5], "keeps": [0.5],
              "ffn_score": "attention"})")),
              HasSubstr("stage_ends[0]"));
  EXPECT_THAT(
      ErrorOf(with_policy(R"({"start": 2, "stage_ends": [3], "budgets": [0.5], "keeps": [0.5]})")),
      HasSubstr("calibrate"));
  EvalJob job = job_;
  job.tasks = {"continuation", "nosuch"};
  EXPECT_THAT(ErrorOf(job), AllOf(HasSubstr("\"nosuch\""), HasSubstr("fact")));
  job = job_;
  job.lengths = {256, 1921};
  EXPECT_THAT(ErrorOf(job), AllOf(HasSubstr("1921"), HasSubstr("at most 1920")));
  job = job_;
  job.lengths = {};
  EXPECT_THAT(ErrorOf(job), HasSubstr("--lengths"));
  job = job_;
  job.texts = {Path("nowhere")};
  EXPECT_THAT(ErrorOf(job), HasSubstr("nowhere"));
  job = job_;
  job.lab.model_path = Path("nowhere.gguf");
  EXPECT_THAT(ErrorOf(job), HasSubstr("nowhere.gguf"));
  job = job_;
  job.lengths = {256};
  job.cases = 1;
  job.tasks = {"continuation"};
  job.json_path = Path("nowhere/out.json");
  EXPECT_EQ(Eval(job, io()), 1);
  EXPECT_THAT(Err(), HasSubstr("cannot write"));
}

}  // namespace
}  // namespace skipserve
