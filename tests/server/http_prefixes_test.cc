// /v1/prefixes over real sockets: read, listed, asked for by name, dropped; and what a bad one
// gets.
#include <string>
#include <vector>

#include "tests/server/http_fixture.h"

namespace skipserve {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr char kPrefixes[] = "/v1/prefixes";

class HttpPrefixesTest : public HttpTest {
 protected:
  TestReply Delete(const std::string& path) {
    TestClient client(port());
    client.Send("DELETE " + path + " HTTP/1.1\r\nHost: test\r\n\r\n");
    return client.Read();
  }
  static json Body(json more = json::object()) {
    if (!more.contains("name")) more["name"] = "law";
    more["prompt"] = "All of it.";
    return more;
  }
};

TEST_F(HttpPrefixesTest, ReadListedAskedForAndDropped) {
  const TestReply read = Post(kPrefixes, Body());
  EXPECT_EQ(read.status, 201) << read.body;
  EXPECT_EQ(read.headers.count("x-request-id"), 1u);
  const json law = {{"object", "prefix"},      {"name", "law"},     {"tokens", 10},
                    {"kv_blocks", 4},          {"trunk_layers", 4}, {"skip_level", "off"},
                    {"created", 1'700'000'000}};
  EXPECT_EQ(read.json(), law);
  EXPECT_EQ(Get("/v1/prefixes/law").json(), law);
  EXPECT_EQ(Get(kPrefixes).json(), (json{{"object", "list"}, {"data", json::array({law})}}));
  EXPECT_EQ(Get("/load").json()["prefixes"], 1);
  EXPECT_EQ(Get("/load").json()["prefix_tokens"], 10);
  EXPECT_THAT(Get("/metrics").body, HasSubstr("skipserve_prefixes 1\n"));

  const TestReply dropped = Delete("/v1/prefixes/law");
  EXPECT_EQ(dropped.status, 200);
  EXPECT_EQ(dropped.json(), (json{{"object", "prefix"}, {"name", "law"}, {"deleted", true}}));
  EXPECT_EQ(Get(kPrefixes).json()["data"], json::array());
  for (const TestReply& gone : {Get("/v1/prefixes/law"), Delete("/v1/prefixes/law")}) {
    EXPECT_EQ(gone.status, 404);
    EXPECT_EQ(gone.json()["error"]["type"], "not_found_error") << gone.body;
    EXPECT_THAT(gone.json()["error"]["message"], HasSubstr("law"));
  }
}

TEST_F(HttpPrefixesTest, EveryFieldReachesTheEngine) {
  ASSERT_EQ(Post(kPrefixes, Body({{"skip", "balanced"}, {"cache_salt", "mine"}})).status, 201);
  const json ids = {{"name", "ids"}, {"prompt_token_ids", {1, 2, 259}}, {"skip", "off"}};
  ASSERT_EQ(Post(kPrefixes, ids).status, 201);
  ASSERT_EQ(Post(kPrefixes, ChatBody({{"name", "chat"}, {"model", "tiny"}})).status, 201);
  const std::vector<PrefixRequest> requests = engine_->prefix_requests();
  ASSERT_EQ(requests.size(), 3u);
  EXPECT_EQ(requests[0].name, "law");
  EXPECT_EQ(requests[0].tokens.size(), 10u);
  EXPECT_EQ(requests[0].skip.level, "balanced");
  EXPECT_EQ(requests[0].cache_salt, "mine");
  EXPECT_EQ(requests[1].tokens, (std::vector<int32_t>{1, 2, 259}));
  EXPECT_EQ(requests[1].skip.mode, SkipRequest::Mode::kOff);
  EXPECT_EQ(requests[2].skip.mode, SkipRequest::Mode::kAuto);
  // A question in the same message begins with all of it.
  ASSERT_EQ(
      Post(kChat, {{"messages", {{{"role", "user"}, {"content", "What is the answer?\n\nWhy?"}}}}})
          .status,
      200);
  const std::vector<int32_t> asked = engine_->requests().back().prompt;
  ASSERT_LT(requests[2].tokens.size(), asked.size());
  EXPECT_TRUE(std::equal(requests[2].tokens.begin(), requests[2].tokens.end(), asked.begin()));
  EXPECT_EQ(requests[2].tokens.back(), '?');
}

TEST_F(HttpPrefixesTest, NamesArePercentDecoded) {
  ASSERT_EQ(Post(kPrefixes, Body({{"name", "a b/ü"}})).status, 201);
  EXPECT_EQ(Get("/v1/prefixes/a%20b%2F%C3%BC").json()["name"], "a b/ü");
  EXPECT_EQ(Delete("/v1/prefixes/a%20b/%c3%bc").status, 200);
}

TEST_F(HttpPrefixesTest, BadBodiesNameTheirField) {
  const std::string long_name(129, 'n');
  const std::vector<std::pair<json, std::string>> cases = {
      {{{"prompt", "x"}}, "name"},
      {{{"name", 5}, {"prompt", "x"}}, "name"},
      {{{"name", ""}, {"prompt", "x"}}, "name"},
      {{{"name", long_name}, {"prompt", "x"}}, "name"},
      {{{"name", "n"}}, "prompt"},
      {{{"name", "n"}, {"prompt", "x"}, {"prompt_token_ids", {1}}}, "prompt"},
      {{{"name", "n"}, {"prompt", ""}}, "prompt"},
      {{{"name", "n"}, {"prompt", json::array({"x"})}}, "prompt"},
      {{{"name", "n"}, {"prompt", std::string(5000, 'x')}}, "prompt"},
      {{{"name", "n"}, {"prompt_token_ids", {1, 260}}}, "prompt_token_ids[1]"},
      {{{"name", "n"}, {"messages", json::array()}}, "messages"},
      {{{"name", "n"}, {"prompt", "x"}, {"skip", "never"}}, "skip"},
      {{{"name", "n"}, {"prompt", "x"}, {"cache_salt", std::string(129, 's')}}, "cache_salt"},
  };
  for (const auto& [body, param] : cases) {
    const TestReply reply = Post(kPrefixes, body);
    EXPECT_EQ(reply.status, 400) << reply.body;
    EXPECT_EQ(reply.json()["error"]["param"], param) << reply.body;
  }
  const TestReply model = Post(kPrefixes, Body({{"model", "other"}}));
  EXPECT_EQ(model.status, 404);
  EXPECT_EQ(model.json()["error"]["code"], "model_not_found");
  EXPECT_EQ(PostText(kPrefixes, "{").status, 400);
  EXPECT_TRUE(engine_->prefix_requests().empty());
  EXPECT_THAT(Get("/metrics").body, HasSubstr("endpoint=\"/v1/prefixes\",outcome=\"invalid\"} 15"));
}

TEST_F(HttpPrefixesTest, TheEnginesRefusalsMapToStatuses) {
  const std::vector<std::pair<absl::Status, int>> cases = {
      {absl::AlreadyExistsError("taken"), 409},
      {absl::FailedPreconditionError("no cache"), 400},
      {absl::ResourceExhaustedError("full"), 429},
      {absl::InvalidArgumentError("no block"), 400},
      {absl::UnavailableError("stopping"), 503}};
  for (const auto& [status, code] : cases) {
    engine_->RefuseNext({status});
    const TestReply reply = Post(kPrefixes, Body());
    EXPECT_EQ(reply.status, code);
    EXPECT_EQ(reply.json()["error"]["message"], std::string(status.message())) << reply.body;
  }
  FakeOptions fake;
  fake.fail_after = 0;
  fake.fail_status = absl::ResourceExhaustedError("no memory to keep it");
  Restart(fake);
  EXPECT_EQ(Post(kPrefixes, Body()).status, 429) << "it fails while it is read";
}

TEST_F(HttpPrefixesTest, WhoeverAsksWaitsAndWhoeverGoesCancels) {
  engine_->Pause();
  TestClient waits(port());
  waits.SendPost(kPrefixes, Body().dump());
  ASSERT_TRUE(engine_->WaitForPrefixRequests(1));
  EXPECT_EQ(Post(kPrefixes, Body()).status, 409);
  EXPECT_EQ(Get("/v1/prefixes/law").status, 404) << "it is not read yet";
  TestClient leaves(port());
  leaves.SendPost(kPrefixes, Body({{"name", "other"}}).dump());
  ASSERT_TRUE(engine_->WaitForPrefixRequests(2));
  leaves.Close();
  EXPECT_TRUE(engine_->WaitForCancelled(1));
  engine_->Resume();
  EXPECT_EQ(waits.Read().status, 201);
  EXPECT_TRUE(engine_->WaitForIdle());
  EXPECT_EQ(engine_->cancelled(), 1) << "what was read is not cancelled afterwards";
  EXPECT_EQ(Get(kPrefixes).json()["data"].size(), 1u);
}

}  // namespace
}  // namespace skipserve
