// The skipping prefill against the method's reference run: the sets of active rows and the first
// log-probabilities. Exact sets on the tiny model in float32; on the real one
// (SKIPSERVE_TEST_MODEL) 99 % of the rows.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>

#include "engine/skip/calibrate.h"
#include "nlohmann/json.hpp"
#include "tests/support/run_model.h"

namespace skipserve::testing {
namespace {

using nlohmann::json;

const std::string kGolden = std::string(SKIPSERVE_SOURCE_DIR) + "/tests/golden/";

json Load(const std::string& name) {
  std::ifstream file(kGolden + name);
  return json::parse(file);
}

std::vector<int32_t> Expand(const json& runs) {
  std::vector<int32_t> rows;
  for (size_t i = 0; i < runs.size(); i += 2) {
    for (int32_t j = 0; j < runs[i + 1].get<int32_t>(); ++j)
      rows.push_back(runs[i].get<int32_t>() + j);
  }
  return rows;
}

std::vector<LayerRows> RowsOf(const json& c) {
  std::vector<LayerRows> rows;
  for (const json& layer : c["layers"])
    rows.push_back({Expand(layer["attention"]), Expand(layer["ffn"])});
  return rows;
}

// Runs a case, feeding the reference's own greedy tokens. -> the largest difference of a
// log-probability in its top 10.
double WorstLogProb(const json& c, const RunResult& run) {
  double worst = 0;
  for (size_t step = 0; step < c["steps"].size(); ++step) {
    for (const json& top : c["steps"][step]["top"]) {
      const double expected = top[1].get<double>();
      worst =
          std::max(worst, std::abs(LogProb(run.logits[step], top[0].get<int32_t>()) - expected));
    }
  }
  return worst;
}

RunResult RunCase(ModelRunner& runner, const json& c, const std::vector<int32_t>& prompt) {
  std::vector<int32_t> next;
  for (const json& step : c["steps"]) next.push_back(step["token"].get<int32_t>());
  next.pop_back();
  if (c["policy"].is_null()) return runner.Run(prompt, nullptr, next);
  const absl::StatusOr<SkipPolicy> policy = PolicyFromJson(c["policy"]);
  EXPECT_TRUE(policy.ok()) << policy.status();
  return runner.Run(prompt, &*policy, next);
}

// A runner with the proxies of the "product" cases, built here from the reference's own calibration
// ids.
std::unique_ptr<ModelRunner> Open(const std::string& model, const json& proxy,
                                  std::unique_ptr<Ops> ops, RunOptions options) {
  const auto file = ModelFile::Open(model);
  EXPECT_TRUE(file.ok()) << file.status();
  const auto proxies =
      BuildProxies(**file, proxy["calibration"].get<std::vector<std::vector<int32_t>>>(),
                   {proxy["d_low"].get<int32_t>(), proxy["rank"].get<int32_t>()}, 256, *ops,
                   [](absl::string_view, int64_t, int64_t) {});
  EXPECT_TRUE(proxies.ok()) << proxies.status();
  return ModelRunner::Open(model, std::move(ops), options, *proxies);
}

class TinyGolden : public ::testing::TestWithParam<bool> {};

TEST_P(TinyGolden, SameRowsAndLogProbabilities) {
  const json golden = Load("spts_tiny.json");
  const auto runner = Open(kGolden + "tiny/tiny.gguf", golden["proxy"],
                           GetParam() ? MakeCpuOps(2) : MakeReferenceOps(), RunOptions{});
  for (const json& c : golden["cases"]) {
    SCOPED_TRACE(c["name"].get<std::string>());
    const auto prompt = c["prompt"].get<std::vector<int32_t>>();
    const RunResult run = RunCase(*runner, c, prompt);
    const std::vector<LayerRows> expected = RowsOf(c);
    ASSERT_EQ(run.rows.size(), expected.size());
    for (size_t layer = 0; layer < expected.size(); ++layer) {
      EXPECT_EQ(run.rows[layer].attention, expected[layer].attention) << "layer " << layer;
      EXPECT_EQ(run.rows[layer].ffn, expected[layer].ffn) << "layer " << layer;
    }
    EXPECT_LT(WorstLogProb(c, run), 2e-4);
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, TinyGolden, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Cpu" : "Reference"; });

TEST(SmolLM2Golden, SameRowsAndLogProbabilities) {
  const char* model = std::getenv("SKIPSERVE_TEST_MODEL");
  if (!model) GTEST_SKIP() << "SKIPSERVE_TEST_MODEL names no model";
  const json golden = Load("spts_smollm2.json");
  RunOptions options;
  options.block_tokens = 32;
  const auto runner = Open(model, golden["proxy"], MakeCpuOps(2), options);
  const auto prompt = golden["cases"][0]["prompt"].get<std::vector<int32_t>>();
  for (const json& c : golden["cases"]) {
    SCOPED_TRACE(c["name"].get<std::string>());
    const RunResult run = RunCase(*runner, c, prompt);
    const std::vector<LayerRows> expected = RowsOf(c);
    for (size_t layer = 0; layer < run.rows.size(); ++layer) {
      ASSERT_EQ(run.rows[layer].attention.size(), expected[layer].attention.size())
          << "layer " << layer;
      ASSERT_EQ(run.rows[layer].ffn.size(), expected[layer].ffn.size()) << "layer " << layer;
    }
    EXPECT_GE(SharedRows(run.rows, expected, prompt.size()), 0.99);
    EXPECT_LT(WorstLogProb(c, run), 0.05);
  }
}

}  // namespace
}  // namespace skipserve::testing
