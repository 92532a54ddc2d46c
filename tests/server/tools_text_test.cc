// What the command-line tools read and print, without a model.
#include "server/levels_text.h"
#include "server/report_text.h"
#include "server/terminal.h"
#include "server/tool_input.h"
#include "tests/server/tools_fixture.h"

namespace skipserve {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ToolsTextTest = testing::ToolsTest;

TEST(TerminalTest, NumbersReadWell) {
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(1234567), "1,234,567");
  EXPECT_EQ(FormatCount(-1234), "-1,234");
  EXPECT_EQ(FormatCount(-123), "-123");
  EXPECT_EQ(FormatPercent(0.5257), "52.6 %");
  EXPECT_EQ(FormatRate(1568.2), "1,568");
  EXPECT_EQ(FormatRate(38.42), "38.4");
  EXPECT_EQ(FormatRate(4.2149), "4.21");
  EXPECT_EQ(FormatElapsed(absl::Microseconds(83100)), "83.1 ms");
  EXPECT_EQ(FormatElapsed(absl::Milliseconds(4520)), "4.52 s");
  EXPECT_EQ(FormatElapsed(absl::Seconds(125)), "2 min 5 s");
  EXPECT_EQ(FormatElapsed(absl::Minutes(125)), "2 h 5 min");
}

TEST(TerminalTest, TableAlignsAndWraps) {
  Table table({"", "off", "auto"});
  table.AddRow({"TTFT", "12.00 s", "3.00 s"});
  table.AddRow({"answer", "the quick brown fox", "naïve"});
  EXPECT_EQ(table.ToString(6 + 2 * 2 + 2 * 10),
            "              off    auto\n"
            "-------------------------\n"
            "TTFT      12.00 s  3.00 s\n"
            "answer  the quick  naïve\n"
            "        brown fox\n");
}

TEST(TerminalTest, PrintableLeavesTheTerminalAlone) {
  EXPECT_EQ(Printable("a\tb\n\xC3\xA9"), "a\tb\n\xC3\xA9");
  EXPECT_EQ(Printable("\x1B[2J"), "\xEF\xBF\xBD[2J");
  EXPECT_EQ(Printable("\xC2\x9B"
                      "31m"),
            "\xEF\xBF\xBD"
            "31m");  // the one-byte escape of C1
  EXPECT_EQ(Printable("\xFFz"), "\xEF\xBF\xBDz");
}

Report SomeReport() {
  Report report;
  report.prompt_tokens = 7654;
  report.completion_tokens = 12;
  report.skip_level = "balanced";
  report.policy_fingerprint = "00112233aabbccdd";
  report.expected_kl = 0.01234;
  report.expected_agreement = 0.987;
  report.skip_ratio = 0.55;
  report.attention_skip_ratio = report.ffn_skip_ratio = report.kv_skip_ratio = 0.5;
  report.flop_bound = 2.22;
  report.token_layers = 7654 * 30;
  report.kv_token_layers = 7654 * 15;
  report.ttft = absl::Seconds(2);
  report.prefill = absl::Milliseconds(1900);
  report.cached_tokens = 512;
  report.inter_token_mean = absl::Milliseconds(10);
  report.inter_token_max = absl::Milliseconds(70);
  return report;
}

TEST(ReportTextTest, SaysWhatWasSkippedAndWhatItCost) {
  const std::string text = ReportText(SomeReport());
  for (const char* part :
       {"7,654", "balanced", "50.0 %", "2.22x", "114,810 (50.0 %)", "2.00 s", "100"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  for (const char* line :
       {"  from the cache      512\n", "  policy              00112233aabbccdd\n",
        "  expected KL         0.0123 nats\n", "  expected agreement  98.7 %\n",
        "  KV                  50.0 %\n", "prefill               1.90 s\n",
        "between two, mean     10.0 ms\n", "between two, longest  70.0 ms\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
  Report dense = SomeReport();
  dense.skip_level = "off";
  dense.skip_reason = "prompts under 1024 tokens run dense";
  EXPECT_THAT(ReportText(dense), HasSubstr("off (prompts under 1024 tokens run dense)"));
}

TEST(ReportTextTest, SaysWhyNothingIsExpected) {
  Report report = SomeReport();
  report.expected_kl = report.expected_agreement = std::nullopt;
  EXPECT_THAT(ReportText(report), HasSubstr("  expected KL         not measured\n"));
  EXPECT_THAT(ReportText(report), HasSubstr("  expected agreement  not measured\n"));
  report.skip_level = "custom";
  EXPECT_THAT(ReportText(report), HasSubstr("  expected KL         -\n"));
  report.policy_fingerprint = "";
  EXPECT_THAT(ReportText(report), HasSubstr("  policy              -\n"));
}

TEST(LevelsTextTest, ArithmeticFirstThenWhatWasMeasured) {
  EXPECT_EQ(LevelsText({}, "off"), "no skip levels\n");
  SkipLevelInfo gentle, fast;
  gentle.name = "gentle";
  gentle.policy.start = 18;
  gentle.policy_fingerprint = "00112233aabbccdd";
  gentle.bounds = {{1024, 1.4, 0.62}, {8192, 1.5, 0.604}};
  gentle.figures.lengths = {{2000, 24, 1.45, 0.0321, 0.961, 14, 15},
                            {7500, 8, 1.5, 0.1, 0.9, 0, 0}};
  gentle.figures.weak_tasks = {"counting", "\x1B[2Jsummaries"};
  gentle.figures.measured_on = "24 licences, bf16";
  fast.name = "fast";
  fast.policy.start = 6;
  fast.policy_fingerprint = "ffeeddccbbaa9988";
  fast.bounds = {{1024, 2.4, 0.3}, {8192, 2.8, 0.25}};
  EXPECT_EQ(LevelsText({gentle, fast}, "gentle"),
            "by arithmetic: how many times less work than dense, and the share of its KV\n"
            "level                       policy  dense layers   1,024 tokens   8,192 tokens\n"
            "------------------------------------------------------------------------------\n"
            "gentle (default)  00112233aabbccdd            18  1.40x, 62.0 %  1.50x, 60.4 %\n"
            "fast              ffeeddccbbaa9988             6  2.40x, 30.0 %  2.80x, 25.0 %\n"
            "\n"
            "as measured beside dense\n"
            "level         tokens  prompts  FLOP bound  KL per token  agreement     facts\n"
            "----------------------------------------------------------------------------\n"
            "gentle         2,000       24       1.45x   0.0321 nats     96.1 %  14 of 15\n"
            "gentle         7,500        8       1.50x   0.1000 nats     90.0 %         -\n"
            "fast    not measured\n"
            "gentle is weak at: counting, \xEF\xBF\xBD[2Jsummaries\n"
            "gentle was measured on: 24 licences, bf16\n");
}

TEST(ReportTextTest, ComparesSideBySide) {
  RunOutcome dense, skipping;
  dense.report = skipping.report = SomeReport();
  dense.report.ttft = absl::Seconds(5);
  dense.text = "The \x1B[31mred one.";
  skipping.text = "The red one.";
  const std::string text = CompareText({"off", "auto"}, {dense, skipping}, 100);
  EXPECT_THAT(text, HasSubstr("The red one."));
  EXPECT_THAT(text, Not(HasSubstr("\x1B")));
  EXPECT_THAT(text, HasSubstr("auto gives the first token 2.50 times as fast as off"));
}

TEST(ReportTextTest, JsonHasTheServersFields) {
  RunOutcome outcome;
  outcome.text = "yes";
  outcome.ids = {5};
  outcome.report = SomeReport();
  const OrderedJson json = OutcomeJson(outcome);
  EXPECT_EQ(json["text"], "yes");
  EXPECT_EQ(json["finish_reason"], "stop");
  EXPECT_EQ(json["usage"]["prompt_tokens"], 7654);
  EXPECT_EQ(json["skip"]["level"], "balanced");
  EXPECT_EQ(json["timings"]["ttft_seconds"], 2.0);
  EXPECT_NEAR(json["timings"]["tokens_per_second"].get<double>(), 100, 1e-6);
}

TEST_F(ToolsTextTest, SkipIsAWordOrAPolicy) {
  EXPECT_EQ(ParseSkip("off")->mode, SkipRequest::Mode::kOff);
  EXPECT_EQ(ParseSkip("auto")->mode, SkipRequest::Mode::kAuto);
  EXPECT_EQ(ParseSkip("fast")->level, "fast");
  EXPECT_EQ(ParseSkip(testing::kTinyPolicy)->policy.start, 2);
  EXPECT_EQ(ParseSkip("@" + Write("p.json", testing::kTinyPolicy))->policy.start, 2);
}

TEST_F(ToolsTextTest, BadSkipIsNamed) {
  const auto error = [](const std::string& text) {
    return std::string(ParseSkip(text).status().message());
  };
  EXPECT_THAT(error(""), HasSubstr("--skip is empty"));
  EXPECT_THAT(error("{\"start\": 2"), HasSubstr("not valid JSON"));
  EXPECT_THAT(error("{\"strat\": 2}"), HasSubstr("strat"));
  EXPECT_THAT(error("@" + Path("none.json")), HasSubstr("none.json: No such file"));
  EXPECT_THAT(error("@" + Write("list.json", "[]")), HasSubstr("list.json"));
}

TEST_F(ToolsTextTest, AFolderIsNoDocument) {
  std::filesystem::create_directories(Path("nothing"));
  EXPECT_THAT(std::string(ReadDocument(Path("nothing")).status().message()),
              HasSubstr("it is a folder"));
}

}  // namespace
}  // namespace skipserve
