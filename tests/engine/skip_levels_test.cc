// From what a request asks of skipping to the plan it gets: every mode, with skipping switched on
// and off, and whatever the default level is.
#include "engine/skip/levels.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace skipserve {
namespace {

using testing::HasSubstr;
using Mode = SkipRequest::Mode;

ModelConfig Config() {
  ModelConfig c;
  c.layers = 10;
  c.width = 64;
  c.ffn_width = 128;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 16;
  return c;
}

SkipSettings Settings(const std::string& default_level) {
  SkipPolicy policy = LayeredPolicy(5, 10, 0.5, 0.1);
  policy.ffn_score = FfnScore::kProduct;
  return {.default_level = default_level, .min_prompt = 1000, .levels = {{"half", policy}}};
}

SkipLevels Levels(const std::string& default_level, bool enabled, ProxyShape proxy = {8, 4}) {
  return SkipLevels(Config(), Settings(default_level), proxy, enabled);
}

SkipRequest Ask(Mode mode, const std::string& level = "") {
  SkipRequest request;
  request.mode = mode;
  request.level = level;
  request.policy = LayeredPolicy(5, 10, 0.5, 0.1);
  request.policy.ffn_score = FfnScore::kAttention;
  return request;
}

TEST(SkipLevelsTest, EachModeGetsWhatItAsksFor) {
  for (const std::string by_default : {"half", "off"}) {
    const SkipLevels levels = Levels(by_default, true);
    for (const auto& [request, level] : {std::pair{Ask(Mode::kOff), std::string("off")},
                                         {Ask(Mode::kAuto), by_default},
                                         {Ask(Mode::kLevel, "half"), "half"},
                                         {Ask(Mode::kLevel, "off"), "off"},
                                         {Ask(Mode::kPolicy), "custom"}}) {
      const absl::StatusOr<ResolvedSkip> skip = levels.Resolve(request, 2000);
      ASSERT_TRUE(skip.ok()) << skip.status();
      EXPECT_EQ(skip->level, level);
      EXPECT_EQ(skip->plan.dense(), level == "off");
      EXPECT_EQ(skip->plan.prompt_tokens, 2000);
      EXPECT_EQ(skip->reason.empty(), level != "off" || request.mode != Mode::kAuto)
          << skip->reason;
    }
  }
}

TEST(SkipLevelsTest, SwitchedOffEverythingIsDenseAndSaysWhy) {
  for (const std::string by_default : {"half", "off"}) {
    const SkipLevels levels = Levels(by_default, false);
    for (const SkipRequest& request : {Ask(Mode::kOff), Ask(Mode::kAuto), Ask(Mode::kLevel, "half"),
                                       Ask(Mode::kLevel, "off"), Ask(Mode::kPolicy)}) {
      const absl::StatusOr<ResolvedSkip> skip = levels.Resolve(request, 2000);
      ASSERT_TRUE(skip.ok()) << skip.status();
      EXPECT_EQ(skip->level, "off");
      EXPECT_TRUE(skip->plan.dense());
      const bool asked = request.mode == Mode::kPolicy || request.level == "half" ||
                         (request.mode == Mode::kAuto && by_default == "half");
      EXPECT_EQ(skip->reason.find("switched off") != std::string::npos, asked) << skip->reason;
    }
  }
}

TEST(SkipLevelsTest, WhatIsWrongIsRefusedEvenWhereNothingIsSkipped) {
  for (const bool enabled : {true, false}) {
    const SkipLevels levels = Levels("half", enabled);
    EXPECT_THAT(levels.Resolve(Ask(Mode::kLevel, "fastest"), 2000).status().message(),
                HasSubstr("off, half"));
    SkipRequest beyond = Ask(Mode::kPolicy);
    beyond.policy.start = 10;
    EXPECT_EQ(levels.Resolve(beyond, 2000).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(SkipLevelsTest, ShortPromptsRunDenseUnlessALevelIsNamed) {
  const SkipLevels levels = Levels("half", true);
  const ResolvedSkip automatic = *levels.Resolve(Ask(Mode::kAuto), 999);
  EXPECT_TRUE(automatic.plan.dense());
  EXPECT_THAT(automatic.reason, HasSubstr("1000"));
  EXPECT_FALSE(levels.Resolve(Ask(Mode::kAuto), 1000)->plan.dense());
  EXPECT_FALSE(levels.Resolve(Ask(Mode::kLevel, "half"), 999)->plan.dense());
  const ResolvedSkip tiny = *levels.Resolve(Ask(Mode::kLevel, "half"), 1);
  EXPECT_TRUE(tiny.plan.dense());
  EXPECT_NE(tiny.reason, "");
}

TEST(SkipLevelsTest, WithoutProxiesLevelsScoreByAttentionAndPoliciesByProductAreRefused) {
  const SkipLevels levels = Levels("half", true, {});
  EXPECT_EQ(levels.Resolve(Ask(Mode::kAuto), 2000)->policy.ffn_score, FfnScore::kAttention);
  EXPECT_EQ(Levels("half", true).Resolve(Ask(Mode::kAuto), 2000)->policy.ffn_score,
            FfnScore::kProduct);
  SkipRequest product = Ask(Mode::kPolicy);
  product.policy.ffn_score = FfnScore::kProduct;
  EXPECT_THAT(levels.Resolve(product, 2000).status().message(), HasSubstr("calibrate"));
}

}  // namespace
}  // namespace skipserve
