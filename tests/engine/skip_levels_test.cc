// From what a request asks of skipping to the plan it gets: every mode, with skipping switched on
// and off, and whatever the default level is.
#include "engine/answer.h"
#include "engine/describe_levels.h"
#include "engine/skip/levels.h"
#include "engine/skip/policy_fingerprint.h"
#include "engine/skip/ready_settings.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/small_config.h"

namespace skipserve {
namespace {

using ::testing::HasSubstr;
using Mode = SkipRequest::Mode;

SkipSettings Settings(const std::string& default_level) {
  SkipPolicy policy = LayeredPolicy(5, 10, 0.5, 0.1);
  policy.ffn_score = FfnScore::kProduct;
  return {.default_level = default_level, .min_prompt = 1000, .levels = {{"half", policy}}};
}

// "half" as somebody measured it, before a gentler level that nobody did.
SkipSettings MeasuredSettings() {
  SkipSettings settings = Settings("half");
  settings.levels[0].figures.lengths = {{1000, 9, 2, 0.5, 0.75, 3, 4}, {4000, 9, 2, 1, 0.5, 2, 4}};
  settings.levels.push_back({"unmeasured", LayeredPolicy(8, 10, 0.5, 0.4)});
  return settings;
}

SkipLevels Levels(const std::string& default_level, bool enabled, ProxyShape proxy = {8, 4}) {
  return SkipLevels(testing::SmallConfig(), Settings(default_level), proxy, enabled);
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

TEST(SkipLevelsTest, AReportSaysWhichPolicyActedAndWhatItIsExpectedToLose) {
  SkipSettings settings = MeasuredSettings();
  settings.levels.push_back(settings.levels[0]);
  settings.levels.back().name = "custom";  // a caller's own policy must not be taken for it
  const SkipLevels levels(testing::SmallConfig(), settings, {8, 4}, true);
  const auto report = [&](const SkipRequest& request, int64_t prompt_tokens) {
    const absl::StatusOr<ResolvedSkip> skip = levels.Resolve(request, prompt_tokens);
    EXPECT_TRUE(skip.ok()) << skip.status();
    return PlanReport(*skip, levels, false);
  };
  const std::string half = PolicyFingerprint(levels.settings().Find("half")->policy);
  for (const SkipRequest& request : {Ask(Mode::kAuto), Ask(Mode::kLevel, "half")}) {
    EXPECT_EQ(report(request, 1500).policy_fingerprint, half);
    EXPECT_EQ(report(request, 1500).expected_kl, 0.5);
    EXPECT_EQ(report(request, 1500).expected_agreement, 0.75);
    EXPECT_EQ(report(request, 9000).expected_kl, 1.0) << "the figures near the prompt's length";
    EXPECT_EQ(report(request, 9000).expected_agreement, 0.5);
  }
  const Report unmeasured = report(Ask(Mode::kLevel, "unmeasured"), 2000);
  EXPECT_EQ(unmeasured.policy_fingerprint,
            PolicyFingerprint(levels.settings().Find("unmeasured")->policy));
  EXPECT_EQ(unmeasured.expected_kl, std::nullopt);
  EXPECT_EQ(unmeasured.expected_agreement, std::nullopt);
  // Also a caller's policy that happens to be a level's: nobody said it is one.
  SkipRequest own = Ask(Mode::kPolicy);
  own.policy = levels.settings().Find("half")->policy;
  EXPECT_EQ(report(own, 2000).policy_fingerprint, half);
  EXPECT_EQ(report(own, 2000).expected_kl, std::nullopt);
  EXPECT_EQ(report(own, 2000).expected_agreement, std::nullopt);
  for (const SkipRequest& dense : {Ask(Mode::kOff), Ask(Mode::kAuto)}) {  // too short for auto
    EXPECT_EQ(report(dense, 999).policy_fingerprint, "");
    EXPECT_EQ(report(dense, 999).expected_kl, 0.0);
    EXPECT_EQ(report(dense, 999).expected_agreement, 1.0);
  }
}

TEST(SkipLevelsTest, FiguresOfALevelThatActsOtherwiseAreDropped) {
  const SkipLevels without(testing::SmallConfig(), MeasuredSettings(), {}, true);
  EXPECT_FALSE(without.settings().Find("half")->figures.measured());
  EXPECT_EQ(without.Resolve(Ask(Mode::kAuto), 2000)->expected, std::nullopt);
  SkipSettings by_attention = MeasuredSettings();
  by_attention.levels[0].policy.ffn_score = FfnScore::kAttention;
  const SkipLevels same(testing::SmallConfig(), by_attention, {}, true);
  EXPECT_EQ(same.settings(), [&] {
    by_attention.levels[1].policy.ffn_score = FfnScore::kAttention;
    return by_attention;
  }()) << "what acts as it was measured keeps its figures";
}

TEST(DescribeLevelsTest, BoundsComeFromArithmeticUpToTheContext) {
  for (const bool enabled : {true, false}) {
    const SkipLevels levels(testing::SmallConfig(), MeasuredSettings(), {8, 4}, enabled);
    const std::vector<SkipLevelInfo> infos = DescribeLevels(levels, testing::SmallConfig(), 5000);
    ASSERT_EQ(infos.size(), 2u);
    EXPECT_EQ(infos[0].name, "half");
    EXPECT_EQ(infos[1].name, "unmeasured");
    EXPECT_EQ(infos[0].policy, levels.settings().levels[0].policy);
    EXPECT_EQ(infos[0].policy_fingerprint, PolicyFingerprint(infos[0].policy));
    EXPECT_EQ(infos[0].figures, levels.settings().levels[0].figures);
    EXPECT_FALSE(infos[1].figures.measured());
    std::vector<int64_t> lengths;
    for (const LevelBound& bound : infos[0].bounds) lengths.push_back(bound.prompt_tokens);
    EXPECT_THAT(lengths, ::testing::ElementsAre(1024, 2048, 4096, 5000));
  }
  const SkipLevels levels(testing::SmallConfig(), MeasuredSettings(), {8, 4}, true);
  const LevelBound at = DescribeLevels(levels, testing::SmallConfig(), 8192)[0].bounds[1];
  const Report report =
      PlanReport(*levels.Resolve(Ask(Mode::kLevel, "half"), 2048), levels, /*by_layer=*/false);
  EXPECT_GT(at.flop_bound, 1);
  EXPECT_EQ(at.flop_bound, report.flop_bound);
  EXPECT_EQ(at.kv_share, 1 - report.kv_skip_ratio);
  EXPECT_EQ(DescribeLevels(levels, testing::SmallConfig(), 8192)[0].bounds.size(), 4u)
      << "8,192 once";
  EXPECT_EQ(DescribeLevels(levels, testing::SmallConfig(), 500)[0].bounds.size(), 1u);
  EXPECT_EQ(DescribeLevels(levels, testing::SmallConfig(), 1)[0].bounds[0].flop_bound, 1)
      << "dense";
}

}  // namespace
}  // namespace skipserve
