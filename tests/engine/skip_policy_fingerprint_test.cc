// A policy's fingerprint: the same for the same policy however it was written, another as soon as
// any field differs.
#include <functional>
#include <map>
#include <set>
#include <string>

#include "engine/skip/policy_fingerprint.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace skipserve {
namespace {

using Json = nlohmann::json;

SkipPolicy Some() {
  SkipPolicy p;
  p.start = 12;
  p.stage_ends = {15, 19};
  p.budgets = {562, 0.25};
  p.keeps = {500, 0.2};
  return p;
}

TEST(PolicyFingerprintTest, IsTheHashOfTheJson) {
  // sha256sum of the text of PolicyToJson, its first 16 digits: computed elsewhere, because figures
  // and logs outlive this program.
  EXPECT_EQ(PolicyFingerprint(Some()), "aa13a49fe6ff13bc");
}

TEST(PolicyFingerprintTest, DoesNotDependOnTheWriter) {
  const auto read = [](const char* text) {
    const auto policy = PolicyFromJson(Json::parse(text));
    EXPECT_TRUE(policy.ok()) << policy.status();
    return PolicyFingerprint(*policy);
  };
  const std::string expected = PolicyFingerprint(Some());
  EXPECT_EQ(read(R"({"keeps": [500.0, 0.20], "budgets": [562, 2.5e-1], "start": 12.0,
                     "stage_ends": [15, 19], "sink": 4, "pool": 1, "memory": 0,
                     "probe_layers": [], "ffn_score": "product"})"),
            expected);
  SkipPolicy cut = Some();
  cut.budgets = {500, 300};
  cut.keeps = {400, 200};
  EXPECT_EQ(read(R"({"start": 12, "stage_ends": [15, 19], "budgets": [500, 300], "cut": 100})"),
            PolicyFingerprint(cut));
}

TEST(PolicyFingerprintTest, ChangesWithEveryField) {
  using P = SkipPolicy;
  const std::map<std::string, std::function<void(P&)>> changes = {
      {"start", [](P& p) { p.start = 11; }},
      {"stage_ends", [](P& p) { p.stage_ends[1] = 20; }},
      {"budgets", [](P& p) { p.budgets[1] = 0.25 + 1e-12; }},
      {"keeps", [](P& p) { p.keeps[0] = -500; }},
      {"sink", [](P& p) { p.sink = 5; }},
      {"recent", [](P& p) { p.recent = 15; }},
      {"window", [](P& p) { p.window = 2; }},
      {"window_reduce", [](P& p) { p.window_reduce = Reduce::kMean; }},
      {"head_reduce", [](P& p) { p.head_reduce = Reduce::kMax; }},
      {"pool", [](P& p) { p.pool = 3; }},
      {"probe_layers", [](P& p) { p.probe_layers = {12}; }},
      {"memory", [](P& p) { p.memory = 0.5; }},
      {"ffn_score", [](P& p) { p.ffn_score = FfnScore::kExact; }},
  };
  std::set<std::string> seen = {PolicyFingerprint(Some())};
  const Json fields = PolicyToJson(Some());
  for (const auto& item : fields.items()) {
    const auto change = changes.find(item.key());
    ASSERT_NE(change, changes.end()) << "say here how " << item.key() << " may change";
    SkipPolicy other = Some();
    change->second(other);
    ASSERT_NE(other, Some()) << item.key();
    EXPECT_TRUE(seen.insert(PolicyFingerprint(other)).second) << item.key();
    EXPECT_THAT(PolicyFingerprint(other), testing::MatchesRegex("[0-9a-f]{16}"));
  }
}

}  // namespace
}  // namespace skipserve
