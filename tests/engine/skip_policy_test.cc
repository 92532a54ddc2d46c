// Policies from clients and files: what is taken, what is refused and by which name; ready
// settings.
#include <cmath>
#include <limits>
#include <string>

#include "engine/skip/policy.h"
#include "engine/skip/ready_settings.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace skipserve {
namespace {

using testing::DoubleEq;
using testing::ElementsAre;
using testing::HasSubstr;
using Json = nlohmann::json;

Json Good() {
  return {{"start", 12}, {"stage_ends", {15, 19}}, {"budgets", {562, 0.25}}, {"keeps", {500, 0.2}}};
}

std::string ErrorOf(const Json& json) {
  const auto policy = PolicyFromJson(json);
  EXPECT_FALSE(policy.ok()) << json;
  EXPECT_EQ(policy.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(policy.status().message());
}

std::string ErrorWith(const std::string& field, const Json& value) {
  Json json = Good();
  json[field] = value;
  return ErrorOf(json);
}

TEST(SkipPolicyTest, JsonWithDefaults) {
  const auto p = PolicyFromJson(Good());
  ASSERT_TRUE(p.ok()) << p.status();
  EXPECT_EQ(p->start, 12);
  EXPECT_THAT(p->stage_ends, ElementsAre(15, 19));
  EXPECT_THAT(p->budgets, ElementsAre(562, 0.25));
  EXPECT_THAT(p->keeps, ElementsAre(500, 0.2));
  SkipPolicy defaults;
  defaults.start = p->start;
  defaults.stage_ends = p->stage_ends;
  defaults.budgets = p->budgets;
  defaults.keeps = p->keeps;
  EXPECT_EQ(*p, defaults);
  EXPECT_TRUE(p->probe_layers.empty());
  EXPECT_EQ(p->memory, 0);
}

TEST(SkipPolicyTest, JsonRoundTripKeepsEverything) {
  SkipPolicy p;
  p.start = 3;
  p.stage_ends = {4, 7};
  p.budgets = {0.1 + 0.2, 1000};
  p.keeps = {0.123456789012345, -1024};
  p.sink = 1;
  p.recent = 0;
  p.window = 32;
  p.window_reduce = Reduce::kMean;
  p.head_reduce = Reduce::kMax;
  p.pool = 15;
  p.probe_layers = {3, 6};
  p.memory = 0.7;
  p.ffn_score = FfnScore::kExact;
  const auto back = PolicyFromJson(Json::parse(PolicyToJson(p).dump()));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(*back, p);
}

TEST(SkipPolicyTest, WholeNumbersMayComeAsDoubles) {
  Json json = Good();
  json["start"] = 12.0;
  json["stage_ends"] = {15.0, 19.0};
  json["window"] = 16.0;
  json["probe_layers"] = {12.0, 13.0};
  json["memory"] = 1;
  EXPECT_TRUE(PolicyFromJson(json).ok());
}

TEST(SkipPolicyTest, CutStandsForKeeps) {
  Json json = Good();
  json.erase("keeps");
  EXPECT_THAT(ErrorOf(json), HasSubstr("\"keeps\""));
  json["cut"] = 100;
  EXPECT_THAT(ErrorOf(json), HasSubstr("\"cut\"")) << "a count against a fraction";
  json["budgets"] = {500, 300};
  EXPECT_THAT(PolicyFromJson(json)->keeps, ElementsAre(400, 200));
  json["cut_reading"] = "drop";
  EXPECT_THAT(PolicyFromJson(json)->keeps, ElementsAre(-100, -200));
  json["cut"] = 0.25;
  EXPECT_THAT(PolicyFromJson(json)->keeps, ElementsAre(DoubleEq(0.75), DoubleEq(0.5)));
  json["cut"] = 0.5;
  EXPECT_THAT(ErrorOf(json), HasSubstr("\"cut\"")) << "nothing is left after the second stage";
  json["cut_reading"] = "keep";
  json["cut"] = 300;
  EXPECT_THAT(ErrorOf(json), HasSubstr("\"cut\""));
  json["cut_reading"] = "both";
  EXPECT_THAT(ErrorOf(json), HasSubstr("\"cut_reading\""));
  json["keeps"] = {1, 1};
  EXPECT_THAT(ErrorOf(json), HasSubstr("\"cut\""));
  Json alone = Good();
  alone["cut_reading"] = "keep";
  EXPECT_THAT(ErrorOf(alone), HasSubstr("\"cut_reading\""));
}

TEST(SkipPolicyTest, EveryErrorNamesTheField) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double inf = std::numeric_limits<double>::infinity();
  const std::vector<std::pair<std::string, std::vector<Json>>> bad = {
      {"start", {-1, 16, 1e300, "12", nullptr, 0.5, nan, Json::array(), uint64_t{1} << 63}},
      {"stage_ends",
       {Json::array(),
        Json(std::vector<int>{15}),
        {15, 15},
        {19, 15},
        {11, 19},
        {15, 19.5},
        {15, "19"},
        15,
        {15, 1e99},
        {15, nan},
        Json(std::vector<int>(5000, 1))}},
      {"budgets",
       {{1},
        {1, 0},
        {1, -5},
        {1, nan},
        {1, inf},
        {1, 1e300},
        {1, 1.5},
        {1, "2"},
        {1, nullptr},
        7,
        Json::object(),
        {1, 2, 3}}},
      {"keeps", {{1}, {1, 0}, {1, nan}, {1, -inf}, {1, -1e300}, {1, -1.5}, "all"}},
      {"sink", {-1, 65537, 1e18, "4", true, nan}},
      {"recent", {-1, 65537, 0.5, nullptr}},
      {"window", {0, -1, 65, 1e10, "1"}},
      {"window_reduce", {"sum", 1, nullptr, "MAX"}},
      {"head_reduce", {"median", Json::array()}},
      {"pool", {0, 2, 14, -1, 257, 1e12, "odd"}},
      {"probe_layers",
       {{13},
        {11, 12},
        {12, 12},
        {12, 15, 14},
        {12, -1},
        {12, 13.5},
        {12, "13"},
        {12, nan},
        {12, 1e99},
        12,
        "12",
        nullptr,
        Json(std::vector<int>(5000, 12))}},
      {"memory", {-1, -1e-9, 1.0000001, 2, nan, inf, "x", nullptr, true, {0.5}}},
      {"ffn_score", {"both", 0, false}},
      {"budget", {1}},
  };
  for (const auto& [field, values] : bad) {
    for (const Json& value : values) {
      EXPECT_THAT(ErrorWith(field, value), HasSubstr("\"" + field)) << field << " " << value;
    }
  }
  for (const std::string field : {"start", "stage_ends", "budgets", "keeps"}) {
    Json json = Good();
    json.erase(field);
    EXPECT_THAT(ErrorOf(json), HasSubstr("\"" + field + "\" is missing"));
  }
  for (const Json& json : {Json(), Json(3), Json("x"), Json::array({1}), Json(nan)}) ErrorOf(json);
}

TEST(SkipPolicyTest, AnErrorIsPlainTextWhateverTheFieldIsCalled) {
  const std::string message = ErrorWith(std::string(63, 'x') + "\xc3\xa9", 1);
  EXPECT_TRUE(std::all_of(message.begin(), message.end(), [](char c) { return c > 0; })) << message;
}

TEST(SkipPolicyTest, ValidateKnowsTheModelsLayers) {
  SkipPolicy p = *PolicyFromJson(Good());
  EXPECT_TRUE(ValidatePolicy(p, 20).ok());
  EXPECT_THAT(ValidatePolicy(p, 19).message(), HasSubstr("stage_ends[1]"));
  EXPECT_THAT(ValidatePolicy(p, 12).message(), HasSubstr("\"start\""));
  EXPECT_THAT(ValidatePolicy(p, 0).message(), HasSubstr("\"start\""));
  EXPECT_FALSE(ValidatePolicy(SkipPolicy(), 30).ok()) << "no stages";
  p.probe_layers = {12, 17, 20};
  EXPECT_TRUE(ValidatePolicy(p, 21).ok());
  EXPECT_THAT(ValidatePolicy(p, 20).message(), HasSubstr("probe_layers[2]"));
  p.probe_layers = {12, 19};
  EXPECT_TRUE(ValidatePolicy(p, 20).ok());
  p.memory = std::nan("");
  EXPECT_THAT(ValidatePolicy(p, 20).message(), HasSubstr("\"memory\""));
  p.memory = 1;
  EXPECT_TRUE(ValidatePolicy(p, 20).ok());
  p.budgets[1] = std::nan("");
  EXPECT_THAT(ValidatePolicy(p, 20).message(), HasSubstr("budgets[1]"));
}

TEST(SkipPolicyTest, SizesResolveToCounts) {
  EXPECT_EQ(ResolveSize(0.35, 2000), 700);
  EXPECT_EQ(ResolveSize(0.35, 10), 4);
  EXPECT_EQ(ResolveSize(0.001, 10), 1);
  EXPECT_EQ(ResolveSize(1, 10), 1);
  EXPECT_EQ(ResolveSize(9216, 10000), 9216);
  EXPECT_EQ(ResolveSize(9216, 500), 500);
  EXPECT_EQ(ResolveSize(-100, 500), 400);
  EXPECT_EQ(ResolveSize(-0.25, 500), 375);
  EXPECT_EQ(ResolveSize(-1000, 500), 1);
}

ModelConfig Config(const char* architecture, const char* name, int layers, int width, int ffn,
                   int heads, int kv_heads, int64_t positions) {
  ModelConfig c;
  c.architecture = architecture;
  c.name = name;
  c.layers = layers;
  c.width = width;
  c.ffn_width = ffn;
  c.heads = heads;
  c.kv_heads = kv_heads;
  c.max_positions = positions;
  return c;
}

void ExpectSound(const ModelConfig& config) {
  const SkipSettings s = ReadySettings(config);
  for (const SkipLevel& level : s.levels) {
    EXPECT_TRUE(ValidatePolicy(level.policy, config.layers).ok())
        << level.name << ValidatePolicy(level.policy, config.layers);
    EXPECT_TRUE(ValidateFigures(level.figures).ok())
        << level.name << ValidateFigures(level.figures);
  }
  EXPECT_TRUE(s.default_level == "off" || s.Find(s.default_level)) << s.default_level;
  const ProxyShape shape = ReadyProxyShape(config);
  EXPECT_GE(shape.rank, 1);
  EXPECT_LE(shape.rank, std::min(shape.d_low, config.width));
  EXPECT_LE(shape.d_low, config.ffn_width);
}

TEST(ReadySettingsTest, ThePapersModels) {
  const ModelConfig llama =
      Config("llama", "Meta Llama 3.1 8B Instruct", 32, 4096, 14336, 32, 8, 131072);
  ExpectSound(llama);
  const SkipSettings s = ReadySettings(llama);
  ASSERT_EQ(s.default_level, "paper");
  const SkipPolicy& p = s.Find("paper")->policy;
  EXPECT_EQ(p.start, 10);
  EXPECT_THAT(p.stage_ends, ElementsAre(13, 18, 23, 28));
  EXPECT_THAT(p.budgets, ElementsAre(9216, 7168, 4096, 2048));
  EXPECT_THAT(p.keeps, ElementsAre(8192, 6144, 3072, 1024));
  EXPECT_EQ(p.window, 1);
  EXPECT_EQ(p.pool, 1);
  EXPECT_EQ(p.ffn_score, FfnScore::kProduct);
  EXPECT_EQ(ReadyProxyShape(llama).d_low, 512);
  EXPECT_EQ(ReadyProxyShape(llama).rank, 192);

  const ModelConfig qwen = Config("qwen2", "Qwen2.5-7B-Instruct", 28, 3584, 18944, 28, 4, 32768);
  ExpectSound(qwen);
  EXPECT_THAT(ReadySettings(qwen).Find("paper")->policy.keeps,
              ElementsAre(11264, 8192, 5120, 2048));
  const ModelConfig pangu =
      Config("llama", "openPangu-Embedded-1B-V1.1", 26, 1536, 6144, 12, 6, 32768);
  ExpectSound(pangu);
  EXPECT_EQ(ReadySettings(pangu).Find("paper")->policy.start, 11);

  for (const char* other : {"Meta Llama 3 8B Instruct", "Hermes", "Llama 3.1 8B"}) {
    ModelConfig c = llama;
    c.name = other;
    EXPECT_EQ(ReadySettings(c).default_level, "off") << other;
  }
  ModelConfig unnamed = llama;
  unnamed.name = "";
  EXPECT_EQ(ReadySettings(unnamed).default_level, "paper");
  unnamed.max_positions = 8192;
  EXPECT_EQ(ReadySettings(unnamed).default_level, "off") << "Llama 3 has the same shape";
}

TEST(ReadySettingsTest, SmolLm2HasThreeMeasuredLevels) {
  const ModelConfig smol =
      Config("llama", "Smollm2 135M 8k Lc100K Mix1 Ep2", 30, 576, 1536, 9, 3, 8192);
  ExpectSound(smol);
  const SkipSettings s = ReadySettings(smol);
  EXPECT_EQ(s.default_level, "gentle");
  ASSERT_EQ(s.levels.size(), 3u);
  EXPECT_EQ(s.levels[0].name, "gentle");
  EXPECT_EQ(s.levels[1].name, "balanced");
  EXPECT_EQ(s.levels[2].name, "fast");
  for (const SkipLevel& level : s.levels) {
    const SkipPolicy& p = level.policy;
    EXPECT_EQ(p.stage_ends.front(), p.start);
    EXPECT_EQ(p.stage_ends.back(), 29);
    EXPECT_NEAR(p.budgets[1] / p.budgets[0], p.budgets.back() / p.budgets[p.budgets.size() - 2],
                1e-12)
        << "geometric";
    EXPECT_EQ(p.keeps, p.budgets);
    EXPECT_EQ(p.pool, 15);
    EXPECT_EQ(p.head_reduce, Reduce::kMax);
    EXPECT_EQ(p.ffn_score, FfnScore::kAttention);
    EXPECT_EQ(p.probe_layers.front(), p.start);
    // What is always kept leaves room for what is chosen, down to the shortest prompt that skips.
    EXPECT_LE(double(p.sink + p.recent), 0.75 * double(s.min_prompt) * p.budgets.back());
  }
  EXPECT_EQ(s.Find("balanced")->policy.start, 7) << "the layer that knows what is asked for";
  EXPECT_EQ(s.Find("nothing"), nullptr);
  EXPECT_EQ(ReadyProxyShape(smol).d_low, 256);
  EXPECT_EQ(ReadyProxyShape(smol).rank, 96);
  ModelConfig first = smol;
  first.name = "";
  first.max_positions = 2048;
  EXPECT_EQ(ReadySettings(first).default_level, "off") << "SmolLM-135M has the same shape";
}

TEST(ReadySettingsTest, OtherModelsAreOffUnlessAsked) {
  for (int layers = 1; layers <= 100; ++layers) {
    const ModelConfig c = Config("llama", "Mystery", layers, 64, 96, 4, 2, 2048);
    ExpectSound(c);
    EXPECT_EQ(ReadySettings(c).default_level, "off");
    EXPECT_EQ(ReadySettings(c).levels.empty(), layers < 4);
  }
  ExpectSound(Config("llama", "", 4, 1, 1, 1, 1, 16));
}

}  // namespace
}  // namespace skipserve
