// Request bodies to what the engine takes: every field, and for every field a bad value that is
// named.
#include "server/openai_request.h"

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_engine.h"

namespace skipserve {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

const ModelInfo& Model() {
  static const FakeEngine* const engine = new FakeEngine();
  return engine->info();
}

json With(OpenAiApi api, json body) {
  if (api == OpenAiApi::kChat) {
    if (!body.contains("messages")) body["messages"] = {{{"role", "user"}, {"content", "hi"}}};
  } else if (!body.contains("prompt")) {
    body["prompt"] = "hi";
  }
  return body;
}

OpenAiRequest Good(OpenAiApi api, json body) {
  OpenAiRequest request;
  const auto error = ParseOpenAiRequest(api, With(api, std::move(body)), Model(), &request);
  EXPECT_FALSE(error) << error->message;
  return request;
}

ApiError Bad(OpenAiApi api, json body) {
  OpenAiRequest request;
  const auto error = ParseOpenAiRequest(api, With(api, body), Model(), &request);
  EXPECT_TRUE(error) << body;
  return error.value_or(ApiError{});
}

constexpr OpenAiApi kChat = OpenAiApi::kChat;
constexpr OpenAiApi kText = OpenAiApi::kCompletions;

TEST(OpenAiRequestTest, Defaults) {
  const OpenAiRequest request = Good(kChat, {{"nobody_knows", 1}, {"temperature", nullptr}});
  EXPECT_EQ(request.n, 1);
  EXPECT_FALSE(request.stream);
  EXPECT_FALSE(request.has_seed);
  EXPECT_EQ(request.generate.sampling.temperature, 1.0f);
  EXPECT_EQ(request.generate.stop.max_tokens, 0);
  EXPECT_EQ(request.generate.logprobs, -1);
  EXPECT_EQ(request.generate.skip.mode, SkipRequest::Mode::kAuto);
  EXPECT_EQ(request.generate.deadline, absl::InfiniteFuture());
}

TEST(OpenAiRequestTest, SamplingAndStopRules) {
  const OpenAiRequest request = Good(kText, json::parse(R"({
    "temperature": 0.5, "top_p": 0.9, "min_p": 0.1, "top_k": 40, "repetition_penalty": 1.1,
    "presence_penalty": -2, "frequency_penalty": 2, "logit_bias": {"7": -100, "07": 5, "9": 1.5},
    "seed": -1, "max_tokens": 10, "min_tokens": 3, "ignore_eos": true, "stop": ["a", "bc"],
    "stop_token_ids": [5, 259], "skip_special_tokens": false, "n": 3, "best_of": 3})"));
  const SamplingParams& sampling = request.generate.sampling;
  EXPECT_EQ(sampling.temperature, 0.5f);
  EXPECT_EQ(sampling.top_p, 0.9f);
  EXPECT_EQ(sampling.min_p, 0.1f);
  EXPECT_EQ(sampling.top_k, 40);
  EXPECT_EQ(sampling.repetition_penalty, 1.1f);
  EXPECT_EQ(sampling.presence_penalty, -2);
  EXPECT_EQ(sampling.frequency_penalty, 2);
  ASSERT_EQ(sampling.logit_bias.size(), 2u);  // "7" and "07" are one token
  EXPECT_THAT(sampling.logit_bias[1], Pair(9, 1.5f));
  EXPECT_EQ(sampling.seed, ~uint64_t{0});
  EXPECT_TRUE(request.has_seed);
  const StopRules& stop = request.generate.stop;
  EXPECT_EQ(stop.max_tokens, 10);
  EXPECT_EQ(stop.min_tokens, 3);
  EXPECT_TRUE(stop.ignore_eos);
  EXPECT_THAT(stop.strings, ElementsAre("a", "bc"));
  EXPECT_THAT(stop.token_ids, ElementsAre(5, 259));
  EXPECT_FALSE(request.generate.skip_special_tokens);
  EXPECT_EQ(request.n, 3);

  EXPECT_THAT(Good(kChat, {{"stop", "x"}}).generate.stop.strings, ElementsAre("x"));
  EXPECT_EQ(Good(kChat, {{"top_p", 0}}).generate.sampling.top_p, 0);
  EXPECT_EQ(Good(kChat, {{"top_k", -1}}).generate.sampling.top_k, 0);
  EXPECT_EQ(Good(kChat, {{"max_tokens", 5}, {"max_completion_tokens", 6}}).generate.stop.max_tokens,
            6);
  EXPECT_EQ(Good(kChat, {{"seed", ~uint64_t{0}}}).generate.sampling.seed, ~uint64_t{0});
}

TEST(OpenAiRequestTest, CacheSalt) {
  for (const OpenAiApi api : {kChat, kText}) {
    EXPECT_EQ(Good(api, json::object()).generate.cache_salt, "");
    const std::string salt(kMaxCacheSalt, 's');
    EXPECT_EQ(Good(api, {{"cache_salt", salt}}).generate.cache_salt, salt);
    const ApiError error = Bad(api, {{"cache_salt", salt + "s"}});
    EXPECT_EQ(error.param, "cache_salt");
    EXPECT_EQ(error.http_status, 400);
    EXPECT_THAT(error.message, HasSubstr("128 bytes"));
    EXPECT_EQ(Bad(api, {{"cache_salt", 5}}).param, "cache_salt");
  }
}

TEST(OpenAiRequestTest, Messages) {
  const OpenAiRequest request = Good(kChat, json::parse(R"({"messages": [
    {"role": "developer", "content": "rules"},
    {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    {"role": "assistant", "content": null},
    {"role": "assistant"},
    {"role": "tool", "content": ""}]})"));
  ASSERT_EQ(request.messages.size(), 5u);
  EXPECT_EQ(request.messages[0].role, "system");
  EXPECT_EQ(request.messages[1].content, "a\nb");
  EXPECT_EQ(request.messages[2].content, "");
}

TEST(OpenAiRequestTest, Prompts) {
  EXPECT_EQ(Good(kText, {{"prompt", "x"}}).prompts[0].text, "x");
  EXPECT_EQ(Good(kText, {{"prompt", {"x", "y"}}}).prompts[1].text, "y");
  const OpenAiRequest ids = Good(kText, {{"prompt", {1, 2, 3}}});
  ASSERT_EQ(ids.prompts.size(), 1u);
  EXPECT_TRUE(ids.prompts[0].is_ids);
  EXPECT_THAT(ids.prompts[0].ids, ElementsAre(1, 2, 3));
  EXPECT_THAT(Good(kText, {{"prompt", {{1, 2}, {3}}}}).prompts[1].ids, ElementsAre(3));
}

TEST(OpenAiRequestTest, Logprobs) {
  EXPECT_EQ(Good(kText, {{"logprobs", 3}}).generate.logprobs, 3);
  EXPECT_EQ(Good(kText, {{"logprobs", 0}}).generate.logprobs, 0);
  EXPECT_EQ(Good(kText, {{"logprobs", false}}).generate.logprobs, -1);
  EXPECT_EQ(Good(kChat, {{"logprobs", true}}).generate.logprobs, 0);
  EXPECT_EQ(Good(kChat, {{"logprobs", true}, {"top_logprobs", 20}}).generate.logprobs, 20);
  EXPECT_EQ(Good(kChat, {{"logprobs", false}, {"top_logprobs", 0}}).generate.logprobs, -1);
}

TEST(OpenAiRequestTest, Skip) {
  using Mode = SkipRequest::Mode;
  EXPECT_EQ(Good(kChat, {{"skip", "off"}}).generate.skip.mode, Mode::kOff);
  EXPECT_EQ(Good(kChat, {{"skip", "auto"}}).generate.skip.mode, Mode::kAuto);
  EXPECT_EQ(Good(kChat, {{"skip", {{"mode", "off"}}}}).generate.skip.mode, Mode::kOff);
  EXPECT_EQ(Good(kChat, {{"skip", json::object()}}).generate.skip.mode, Mode::kAuto);
  for (const json& skip : {json("balanced"), json{{"level", "balanced"}}}) {
    const OpenAiRequest request = Good(kChat, {{"skip", skip}});
    EXPECT_EQ(request.generate.skip.mode, Mode::kLevel);
    EXPECT_EQ(request.generate.skip.level, "balanced");
  }
  const json policy = PolicyToJson(Model().skip_levels[0].policy);
  const OpenAiRequest own =
      Good(kChat, {{"skip", {{"policy", policy}, {"report", {{"layers", true}, {"rows", true}}}}}});
  EXPECT_EQ(own.generate.skip.mode, Mode::kPolicy);
  EXPECT_EQ(own.generate.skip.policy, Model().skip_levels[0].policy);
  EXPECT_TRUE(own.generate.layer_report);
  EXPECT_TRUE(own.generate.row_report);
  EXPECT_LT(Good(kChat, {{"timeout_seconds", 1.5}}).generate.deadline, absl::InfiniteFuture());
}

TEST(OpenAiRequestTest, BadFieldsOfBothAreNamed) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> cases = {
      {"temperature", {"-0.1", "2.1", "\"1\"", "true", "[]"}},
      {"top_p", {"-1", "1.01", "\"1\""}},
      {"min_p", {"-0.5", "1.5", "{}"}},
      {"top_k", {"-2", "1.5", "99999999999", "18446744073709551615", "\"4\""}},
      {"repetition_penalty", {"0", "-1", "1000", "\"x\""}},
      {"presence_penalty", {"-2.5", "3", "\"x\""}},
      {"frequency_penalty", {"-2.5", "3", "false"}},
      {"logit_bias",
       {"[]", "{\"x\": 1}", "{\"260\": 1}", "{\"-1\": 1}", "{\"1\": 101}", "{\"1\": \"1\"}"}},
      {"seed", {"1.5", "\"1\"", "1e30"}},
      {"n", {"0", "-1", "129", "1.0", "\"2\""}},
      {"max_tokens", {"0", "-1", "1.5", "\"5\"", "99999999999999999999"}},
      {"max_completion_tokens", {"0", "\"x\""}},
      {"min_tokens", {"-1", "\"x\""}},
      {"ignore_eos", {"1", "\"true\""}},
      {"stop",
       {"5", "[1]", "[\"\"]", "\"\"", "{}",
        "[\"\",\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"a\",\"b\",\"c\",\"d\","
        "\"e\",\"f\",\"g\"]"}},
      {"stop_token_ids", {"5", "{}"}},
      {"stop_token_ids[1]", {}},
      {"skip_special_tokens", {"0", "\"no\""}},
      {"stream", {"1", "\"true\""}},
      {"stream_options", {"1", "{\"include_usage\": true}"}},  // without "stream"
      {"model", {"5", "[]"}},
      {"timeout_seconds", {"0", "-1", "1e9", "\"5\""}},
      {"skip", {"5", "[]", "\"nope\"", "{\"mode\": \"off\", \"level\": \"balanced\"}"}},
      {"skip.mode", {}},
  };
  for (const OpenAiApi api : {kChat, kText}) {
    for (const auto& [name, values] : cases) {
      for (const std::string& value : values) {
        const ApiError error = Bad(api, {{name, json::parse(value)}});
        EXPECT_EQ(error.param, name) << value << ": " << error.message;
        EXPECT_EQ(error.http_status, 400);
      }
    }
  }
}

TEST(OpenAiRequestTest, BadFieldsDeeperDownAreNamed) {
  const std::vector<std::pair<std::string, std::string>> both = {
      {"stop_token_ids[1]", R"({"stop_token_ids": [1, 260]})"},
      {"stop_token_ids[0]", R"({"stop_token_ids": [1.5]})"},
      {"min_tokens", R"({"min_tokens": 6, "max_tokens": 5})"},
      {"stream_options.include_usage",
       R"({"stream": true, "stream_options": {"include_usage": 1}})"},
      {"skip.mode", R"({"skip": {"mode": "on"}})"},
      {"skip.mode", R"({"skip": {"mode": 5}})"},
      {"skip.level", R"({"skip": {"level": "none"}})"},
      {"skip.level", R"({"skip": {"level": 5}})"},
      {"skip.levle", R"({"skip": {"levle": "balanced"}})"},
      {"skip.policy", R"({"skip": {"policy": 5}})"},
      {"skip.policy", R"({"skip": {"policy": {"unheard_of": 5}}})"},
      {"skip.policy",
       R"({"skip": {"policy": {"start": 900, "stage_ends": [901], "budgets": [5]}}})"},
      {"skip.report", R"({"skip": {"report": true}})"},
      {"skip.report.layers", R"({"skip": {"report": {"layers": 1}}})"},
      {"skip.report.colour", R"({"skip": {"report": {"colour": true}}})"},
  };
  for (const auto& [param, body] : both) {
    for (const OpenAiApi api : {kChat, kText}) {
      const ApiError error = Bad(api, json::parse(body));
      EXPECT_EQ(error.param, param) << error.message;
    }
  }
  const std::vector<std::pair<std::string, std::string>> chat = {
      {"messages", R"({"messages": null})"},
      {"messages", R"({"messages": []})"},
      {"messages", R"({"messages": "hi"})"},
      {"messages[0]", R"({"messages": ["hi"]})"},
      {"messages[0].role", R"({"messages": [{"content": "hi"}]})"},
      {"messages[0].role", R"({"messages": [{"role": "king", "content": "hi"}]})"},
      {"messages[0].content", R"({"messages": [{"role": "user"}]})"},
      {"messages[0].content", R"({"messages": [{"role": "user", "content": 5}]})"},
      {"messages[0].content[0]", R"({"messages": [{"role": "user", "content": ["hi"]}]})"},
      {"messages[0].content[0]",
       R"({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]})"},
      {"messages[0].content[0].text",
       R"({"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]})"},
      {"logprobs", R"({"logprobs": 5})"},
      {"top_logprobs", R"({"top_logprobs": 5})"},
      {"top_logprobs", R"({"logprobs": true, "top_logprobs": 21})"},
      {"response_format", R"({"response_format": {"type": "json_object"}})"},
      {"response_format", R"({"response_format": {"type": 5}})"},
      {"tools", R"({"tools": [{}]})"},
  };
  for (const auto& [param, body] : chat) {
    const ApiError error = Bad(kChat, json::parse(body));
    EXPECT_EQ(error.param, param) << error.message;
  }
  const std::vector<std::pair<std::string, std::string>> text = {
      {"prompt", R"({"prompt": null})"},
      {"prompt", R"({"prompt": []})"},
      {"prompt", R"({"prompt": 5})"},
      {"prompt", R"({"prompt": {}})"},
      {"prompt[1]", R"({"prompt": ["a", 1]})"},
      {"prompt[1]", R"({"prompt": [1, "a"]})"},
      {"prompt[1]", R"({"prompt": [1, 260]})"},
      {"prompt[0]", R"({"prompt": [-1]})"},
      {"prompt[0]", R"({"prompt": [1.5]})"},
      {"prompt[0]", R"({"prompt": [[], [1]]})"},
      {"prompt[0][1]", R"({"prompt": [[1, 999]]})"},
      {"prompt[0]", R"({"prompt": [null]})"},
      {"logprobs", R"({"logprobs": 21})"},
      {"logprobs", R"({"logprobs": true})"},
      {"n", R"({"prompt": ["a", "b"], "n": 65})"},
      {"echo", R"({"echo": true})"},
      {"suffix", R"({"suffix": "x"})"},
      {"best_of", R"({"best_of": 2})"},
  };
  for (const auto& [param, body] : text) {
    const ApiError error = Bad(kText, json::parse(body));
    EXPECT_EQ(error.param, param) << error.message;
  }
}

TEST(OpenAiRequestTest, LevelErrorsTellTheLevels) {
  EXPECT_THAT(Bad(kChat, {{"skip", "fastest"}}).message, HasSubstr("balanced"));
}

}  // namespace
}  // namespace skipserve
