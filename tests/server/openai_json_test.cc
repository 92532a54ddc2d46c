// Request bodies as JSON: what is let in, what is named in the error, and that no shape hurts.
#include "server/openai_json.h"

#include <new>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/sse.h"
#include "tests/server/small_memory.h"

namespace skipserve {
namespace {

using ::testing::HasSubstr;

std::optional<ApiError> Parse(const std::string& body, const JsonLimits& limits = {}) {
  nlohmann::json json;
  return ParseJsonObject(body, &json, limits);
}

TEST(OpenAiJson, LastOfTwoWins) {
  nlohmann::json json;
  ASSERT_FALSE(ParseJsonObject("{\"a\": 1, \"a\": 2}", &json));
  EXPECT_EQ(json["a"], 2);
}

TEST(OpenAiJson, ErrorsNameTheField) {
  const auto number = Parse("{\"n\": 1, \"top_p\": 1e999}");
  ASSERT_TRUE(number);
  EXPECT_EQ(number->param, "top_p");
  EXPECT_THAT(number->message, HasSubstr("too large"));
  const auto nan = Parse("{\"n\": NaN}");
  ASSERT_TRUE(nan);
  EXPECT_EQ(nan->param, "n");
  const auto inner = Parse("{\"a\": {\"b\": -Infinity}}");
  ASSERT_TRUE(inner);
  EXPECT_EQ(inner->param, "a");
  const auto bytes = Parse("{\"prompt\": \"\xc3(\"}");
  ASSERT_TRUE(bytes);
  EXPECT_EQ(bytes->param, "prompt");
  EXPECT_THAT(bytes->message, HasSubstr("UTF-8"));
}

TEST(OpenAiJson, NotAnObject) {
  for (const char* body : {"", " ", "[]", "1", "null", "\"x\"", "{", "{\"a\"", "{\"a\":1}}",
                           "{\"a\":1,}", "{'a':1}", "{\"a\":1}garbage", "\xef\xbb\xbf"}) {
    const auto error = Parse(body);
    ASSERT_TRUE(error) << body;
    EXPECT_EQ(error->http_status, 400);
    EXPECT_FALSE(error->message.empty());
  }
}

TEST(OpenAiJson, DepthAndNumberOfValuesAreBounded) {
  const std::string deep(10'000'000, '[');
  EXPECT_THAT(Parse("{\"a\":" + deep)->message, HasSubstr("nested"));
  EXPECT_THAT(Parse("{\"a\":" + std::string(65, '{'))->message, HasSubstr("nested"));
  JsonLimits limits;
  limits.max_values = 10;
  EXPECT_FALSE(Parse("{\"a\":[1,2,3,4,5]}", limits));
  EXPECT_THAT(Parse("{\"a\":[1,2,3,4,5,6,7,8,9,10,11]}", limits)->message, HasSubstr("10"));
  // Brackets and commas in strings count for nothing, also behind an escaped quote.
  EXPECT_FALSE(
      Parse("{\"a\":\"\\\"" + std::string(1000, '[') + std::string(1000, ',') + "\"}", limits));
}

TEST(OpenAiJson, LackOfMemoryIsNotTheClientsMistake) {
  const std::string body = "{\"a\":\"" + std::string(1 << 20, 'x') + "\"}";
  nlohmann::json json;
  {
    const SmallMemory small(1 << 19);
    EXPECT_THROW(ParseJsonObject(body, &json), std::bad_alloc);
  }
  EXPECT_FALSE(ParseJsonObject(body, &json));
}

TEST(OpenAiJson, ErrorsAreAlwaysValidJson) {
  const ApiError error = BadParam("field", "bytes \xff\xfe here");
  const auto json = nlohmann::json::parse(DumpJson(ErrorJson(error)));
  EXPECT_EQ(json["error"]["param"], "field");
  EXPECT_TRUE(json["error"]["code"].is_null());
}

TEST(Sse, Framing) {
  EXPECT_EQ(SseData("{}"), "data: {}\n\n");
  EXPECT_EQ(SseData("a\nb\r\nc"), "data: a\ndata: b\ndata: c\n\n");
  EXPECT_EQ(SseDone(), "data: [DONE]\n\n");
  EXPECT_EQ(SseComment("hi\nthere"), ": hi there\n\n");
}

}  // namespace
}  // namespace skipserve
