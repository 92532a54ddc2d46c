// API keys, clients and priorities over HTTP.
#include <fstream>

#include "absl/strings/str_cat.h"
#include "tests/server/http_fixture.h"

namespace skipserve {
namespace {

ApiKeys SomeKeys() {
  const std::string path = absl::StrCat(testing::TempDir(), "/http_keys");
  std::ofstream(path) << "alpha team-a\nbeta team-b 5\n";
  return *ApiKeys::Read(path);
}

std::string Raw(const std::string& method, const std::string& path, const std::string& key,
                const std::string& body = "") {
  std::string head = absl::StrCat(method, " ", path, " HTTP/1.1\r\nHost: x\r\n");
  if (!key.empty()) absl::StrAppend(&head, "Authorization: Bearer ", key, "\r\n");
  if (!body.empty()) {
    absl::StrAppend(&head, "Content-Type: application/json\r\nContent-Length: ", body.size(),
                    "\r\n");
  }
  return absl::StrCat(head, "\r\n", body);
}

class HttpKeysTest : public HttpTest {
 protected:
  void SetUp() override {
    HttpOptions options;
    options.api_keys = SomeKeys();
    Restart(FakeOptions(), options);
  }
  TestReply Ask(const std::string& raw) {
    TestClient client(port());
    client.Send(raw);
    return client.Read();
  }
};

TEST_F(HttpKeysTest, WithoutAKeyNothingIsAnswered) {
  for (const char* path : {"/v1/models", "/load", "/v1/prefixes"}) {
    for (const char* key : {"", "gamma"}) {
      const TestReply reply = Ask(Raw("GET", path, key));
      EXPECT_EQ(reply.status, 401) << path;
      EXPECT_EQ(reply.headers.at("www-authenticate"), "Bearer");
      EXPECT_NE(reply.json()["error"]["message"], "");
    }
    EXPECT_EQ(Ask(Raw("GET", path, "alpha")).status, 200) << path;
  }
  EXPECT_EQ(Ask(Raw("POST", kChat, "", ChatBody().dump())).status, 401);
  EXPECT_EQ(Ask(Raw("POST", "/tokenize", "", "{\"text\": \"a\"}")).status, 401);
  EXPECT_TRUE(engine_->requests().empty());
}

TEST_F(HttpKeysTest, ProbesAndThePageNeedNone) {
  for (const char* path : {"/", "/help", "/health", "/ready", "/metrics"}) {
    EXPECT_EQ(Ask(Raw("GET", path, "")).status, 200) << path;
  }
}

TEST_F(HttpKeysTest, TheKeySaysWhoAsksWhateverTheRequestSays) {
  ASSERT_EQ(Ask(Raw("POST", kChat, "beta", ChatBody({{"user", "somebody"}}).dump())).status, 200);
  EXPECT_EQ(engine_->requests().at(0).client, "team-b");
}

TEST_F(HttpKeysTest, NobodyTakesAPriorityThatIsNotHis) {
  const auto ask = [&](const std::string& key, int priority) {
    return Ask(Raw("POST", kChat, key, ChatBody({{"priority", priority}}).dump()));
  };
  EXPECT_EQ(ask("beta", 5).status, 200);
  EXPECT_EQ(ask("alpha", 0).status, 200);
  EXPECT_EQ(ask("alpha", -5).status, 200);
  const TestReply denied = ask("alpha", 1);
  EXPECT_EQ(denied.status, 403);
  EXPECT_EQ(denied.json()["error"]["param"], "priority");
  EXPECT_EQ(ask("beta", 6).status, 403);
  EXPECT_EQ(engine_->requests().size(), 3u);
}

TEST_F(HttpTest, WithoutKeysTheRequestSaysWhoAsks) {
  ASSERT_EQ(Post(kChat, ChatBody({{"user", "somebody"}, {"priority", -3}})).status, 200);
  EXPECT_EQ(engine_->requests().at(0).client, "somebody");
  EXPECT_EQ(engine_->requests().at(0).priority, -3);
  ASSERT_EQ(Post(kText, TextBody()).status, 200);
  EXPECT_EQ(engine_->requests().at(1).client, "");
  EXPECT_EQ(engine_->requests().at(1).priority, 0);
  EXPECT_EQ(Post(kChat, ChatBody({{"user", std::string(257, 'u')}})).status, 400);
  EXPECT_EQ(Post(kChat, ChatBody({{"priority", 101}})).status, 400);
  EXPECT_EQ(Post(kChat, ChatBody({{"priority", "high"}})).status, 400);
}

TEST_F(HttpTest, RetryAfterIsWhatTheEngineExpects) {
  engine_->SetRetryAfter(absl::Seconds(7.2));
  engine_->RefuseNext({absl::ResourceExhaustedError("queue full: try again later")});
  const TestReply reply = Post(kChat, ChatBody());
  EXPECT_EQ(reply.status, 429);
  EXPECT_EQ(reply.headers.at("retry-after"), "8");
  engine_->SetRetryAfter(absl::Hours(3));
  engine_->RefuseNext({absl::ResourceExhaustedError("queue full: try again later")});
  EXPECT_EQ(Post(kChat, ChatBody()).headers.at("retry-after"), "60");
}

}  // namespace
}  // namespace skipserve
