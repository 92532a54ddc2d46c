// Measured figures: which length stands for a prompt, the JSON form, and what is refused by which
// name.
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "engine/skip/level_figures.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace skipserve {
namespace {

using testing::HasSubstr;
using Json = nlohmann::json;

LevelFigures Some() {
  LevelFigures figures;
  figures.lengths = {{1000, 24, 1.45, 0.0123456789, 0.96, 15, 15}, {4000, 8, 1.5, 0.1, 0.5, 0, 11}};
  figures.weak_tasks = {"counting", "frequent words"};
  figures.measured_on = "24 licences, bf16";
  return figures;
}

TEST(LevelFiguresTest, TheNearestLengthByRatioStandsForAPrompt) {
  const LevelFigures figures = Some();
  ASSERT_TRUE(figures.measured());
  for (const auto& [prompt, length] : std::vector<std::pair<int64_t, int64_t>>{{-5, 1000},
                                                                               {0, 1000},
                                                                               {1, 1000},
                                                                               {1000, 1000},
                                                                               {1999, 1000},
                                                                               {2000, 1000},
                                                                               {2001, 4000},
                                                                               {2400, 4000},
                                                                               {4000, 4000},
                                                                               {1 << 30, 4000}}) {
    ASSERT_NE(figures.Near(prompt), nullptr);
    EXPECT_EQ(figures.Near(prompt)->prompt_tokens, length) << prompt;
  }
  EXPECT_FALSE(LevelFigures().measured());
  EXPECT_EQ(LevelFigures().Near(1000), nullptr);
}

TEST(LevelFiguresTest, JsonRoundTripKeepsEverything) {
  const auto back = FiguresFromJson(Json::parse(FiguresToJson(Some()).dump()));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(*back, Some());
  const Json json = FiguresToJson(Some());
  EXPECT_EQ(json["lengths"][1], (Json{{"prompt_tokens", 4000},
                                      {"cases", 8},
                                      {"flop_bound", 1.5},
                                      {"kl", 0.1},
                                      {"agreement", 0.5},
                                      {"facts_found", 0},
                                      {"facts_asked", 11}}));
}

// What is wrong is found in the values themselves and, where JSON can say it, in JSON too.
TEST(LevelFiguresTest, WrongValuesAreRefusedByName) {
  ASSERT_TRUE(ValidateFigures(Some()).ok());
  ASSERT_TRUE(ValidateFigures({}).ok());
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinite = std::numeric_limits<double>::infinity();
  using F = LevelFigures;
  const std::pair<const char*, std::function<void(F&)>> cases[] = {
      {"lengths[1].prompt_tokens", [](F& f) { f.lengths[1].prompt_tokens = 1000; }},
      {"lengths[1].prompt_tokens", [](F& f) { f.lengths[1].prompt_tokens = 999; }},
      {"lengths[0].prompt_tokens", [](F& f) { f.lengths[0].prompt_tokens = 0; }},
      {"lengths[0].prompt_tokens", [](F& f) { f.lengths[0].prompt_tokens = -1; }},
      {"lengths[1].prompt_tokens", [](F& f) { f.lengths[1].prompt_tokens = int64_t{1} << 31; }},
      {"lengths[0].cases", [](F& f) { f.lengths[0].cases = 0; }},
      {"lengths[0].cases", [](F& f) { f.lengths[0].cases = -3; }},
      {"lengths[0].flop_bound", [](F& f) { f.lengths[0].flop_bound = 0; }},
      {"lengths[0].flop_bound", [=](F& f) { f.lengths[0].flop_bound = nan; }},
      {"lengths[0].kl", [=](F& f) { f.lengths[0].kl = nan; }},
      {"lengths[0].kl", [=](F& f) { f.lengths[0].kl = infinite; }},
      {"lengths[1].kl", [](F& f) { f.lengths[1].kl = -1e-9; }},
      {"lengths[1].agreement", [=](F& f) { f.lengths[1].agreement = nan; }},
      {"lengths[1].agreement", [](F& f) { f.lengths[1].agreement = 1.001; }},
      {"lengths[1].agreement", [](F& f) { f.lengths[1].agreement = -0.1; }},
      {"lengths[0].facts_found", [](F& f) { f.lengths[0].facts_found = 16; }},
      {"lengths[0].facts_found", [](F& f) { f.lengths[0].facts_found = -1; }},
      {"lengths[0].facts_asked", [](F& f) { f.lengths[0].facts_asked = -1; }},
      {"\"lengths\"", [](F& f) { f.lengths.clear(); }},
      {"\"lengths\"",
       [](F& f) {
         while (f.lengths.size() <= 64) {
           f.lengths.push_back(f.lengths.back());
           ++f.lengths.back().prompt_tokens;
         }
       }},
      {"\"weak_tasks\"", [](F& f) { f.weak_tasks.resize(65, "x"); }},
      {"weak_tasks[1]", [](F& f) { f.weak_tasks[1] = ""; }},
      {"weak_tasks[1]", [](F& f) { f.weak_tasks[1] = std::string(129, 'x'); }},
      {"measured_on", [](F& f) { f.measured_on = std::string(513, 'x'); }},
  };
  for (const auto& [field, change] : cases) {
    LevelFigures figures = Some();
    change(figures);
    const absl::Status status = ValidateFigures(figures);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << field;
    EXPECT_THAT(std::string(status.message()), HasSubstr(field));
    const auto read = FiguresFromJson(Json::parse(FiguresToJson(figures).dump()));
    EXPECT_THAT(std::string(read.status().message()), HasSubstr(field));
  }
}

TEST(LevelFiguresTest, WrongJsonIsRefusedByName) {
  const std::pair<const char*, std::function<void(Json&)>> cases[] = {
      {"object", [](Json& j) { j = Json::array(); }},
      {"\"lengths\"", [](Json& j) { j.erase("lengths"); }},
      {"\"lengths\"", [](Json& j) { j["lengths"] = 5; }},
      {"\"lengths\" has more", [](Json& j) { j["lengths"] = Json::array_t(100000, 1); }},
      {"\"weak_tasks\"", [](Json& j) { j.erase("weak_tasks"); }},
      {"\"measured_on\"", [](Json& j) { j.erase("measured_on"); }},
      {"\"measured_on\"", [](Json& j) { j["measured_on"] = nullptr; }},
      {"weak_tasks[1]", [](Json& j) { j["weak_tasks"][1] = 7; }},
      {"\"mesured_on\" is not known", [](Json& j) { j["mesured_on"] = ""; }},
      {"lengths[1]\" must be an object", [](Json& j) { j["lengths"][1] = 3; }},
      {"lengths[0].kl\" is missing", [](Json& j) { j["lengths"][0].erase("kl"); }},
      {"lengths[0].kl\" must be a number", [](Json& j) { j["lengths"][0]["kl"] = nullptr; }},
      {"lengths[0].cases\" must be a whole", [](Json& j) { j["lengths"][0]["cases"] = 2.5; }},
      {"lengths[0].cases", [](Json& j) { j["lengths"][0]["cases"] = UINT64_MAX; }},
      {"lengths[0].kll\" is not known", [](Json& j) { j["lengths"][0]["kll"] = 1; }},
  };
  for (const auto& [text, change] : cases) {
    Json json = FiguresToJson(Some());
    change(json);
    const auto read = FiguresFromJson(json);
    EXPECT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(read.status().message()), HasSubstr(text));
  }
}

}  // namespace
}  // namespace skipserve
