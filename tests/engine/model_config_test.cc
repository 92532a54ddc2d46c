// The limits of a model's numbers.
#include "engine/model_config.h"

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace skipserve {
namespace {

using ::testing::HasSubstr;

ModelConfig Good() {
  ModelConfig c;
  c.architecture = "llama";
  c.layers = 4;
  c.width = 64;
  c.ffn_width = 160;
  c.heads = 8;
  c.kv_heads = 2;
  c.head_dim = 16;
  c.vocab_size = 320;
  c.max_positions = 2048;
  return c;
}

TEST(ModelConfig, AGoodOneIsGood) {
  EXPECT_TRUE(ValidateConfig(Good()).ok());
  ModelConfig c = Good();
  c.rope_scaling.kind = RopeScaling::Kind::kLlama3;
  c.rope_scaling.factor = 8;
  EXPECT_TRUE(ValidateConfig(c).ok()) << ValidateConfig(c);
}

TEST(ModelConfig, EachWrongFieldIsNamed) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<std::pair<std::string, std::function<void(ModelConfig&)>>> cases = {
      {"architecture is 'gemma'", [](auto& c) { c.architecture = "gemma"; }},
      {"layers is 0", [](auto& c) { c.layers = 0; }},
      {"layers is 2000000000", [](auto& c) { c.layers = 2000000000; }},
      {"width is -1", [](auto& c) { c.width = -1; }},
      {"ffn_width is 0", [](auto& c) { c.ffn_width = 0; }},
      {"heads is 0", [](auto& c) { c.heads = 0; }},
      {"kv_heads is 0", [](auto& c) { c.kv_heads = 0; }},
      {"multiple of its kv_heads", [](auto& c) { c.kv_heads = 3; }},
      {"head_dim (17) must be even", [](auto& c) { c.head_dim = 17; }},
      {"head_dim is 4096", [](auto& c) { c.head_dim = 4096; }},
      {"vocab_size is 0", [](auto& c) { c.vocab_size = 0; }},
      {"max_positions is 0", [](auto& c) { c.max_positions = 0; }},
      {"max_positions", [](auto& c) { c.max_positions = int64_t{1} << 60; }},
      {"norm_eps is nan", [](auto& c) { c.norm_eps = std::nanf(""); }},
      {"norm_eps is -1", [](auto& c) { c.norm_eps = -1; }},
      {"rope_theta is nan", [=](auto& c) { c.rope_theta = kNan; }},
      {"rope_theta is inf", [](auto& c) { c.rope_theta = INFINITY; }},
      {"rope_theta is 0", [](auto& c) { c.rope_theta = 0; }},
      {"rope_scaling.factor is nan",
       [=](auto& c) {
         c.rope_scaling = {RopeScaling::Kind::kLinear, kNan};
       }},
      {"rope_scaling.factor is 0",
       [](auto& c) {
         c.rope_scaling = {RopeScaling::Kind::kLlama3, 0};
       }},
      {"must be greater than its low_freq_factor",
       [](auto& c) {
         c.rope_scaling = {RopeScaling::Kind::kLlama3, 8, 4, 4};
       }},
      {"low_freq_factor is 0",
       [](auto& c) {
         c.rope_scaling = {RopeScaling::Kind::kLlama3, 8, 0, 4};
       }},
      {"high_freq_factor is inf",
       [](auto& c) {
         c.rope_scaling = {RopeScaling::Kind::kLlama3, 8, 1, INFINITY};
       }},
      {"original_max_positions is 0",
       [](auto& c) {
         c.rope_scaling = {RopeScaling::Kind::kLlama3, 8, 1, 4, 0};
       }},
  };
  for (const auto& [message, change] : cases) {
    ModelConfig c = Good();
    change(c);
    const absl::Status status = ValidateConfig(c);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << message;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  }
}

}  // namespace
}  // namespace skipserve
