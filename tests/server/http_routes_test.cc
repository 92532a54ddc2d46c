// Every route but the completions, and what a wrong path, method or body gets.
#include <string>

#include "tests/server/http_fixture.h"

namespace skipserve {
namespace {

using ::testing::HasSubstr;

TEST_F(HttpTest, HealthReadyLoadHelp) {
  EXPECT_EQ(Get("/health").status, 200);
  EXPECT_EQ(Get("/ready").status, 200);
  EXPECT_EQ(Get("/load").json()["draining"], false);
  const TestReply help = Get("/help");
  EXPECT_EQ(help.status, 200);
  EXPECT_THAT(help.body, HasSubstr("/v1/chat/completions"));
  EXPECT_EQ(Get("/health?verbose=1").status, 200);
  EXPECT_EQ(Get("http://elsewhere:80/health").status, 200);
}

TEST_F(HttpTest, LoadTellsWhatTheEngineDoes) {
  engine_->Pause();
  engine_->SetFallbacks({{"fast", "balanced", 0.31, 0.25, absl::Seconds(287)}});
  TestClient first(port()), second(port());
  first.SendPost(kChat, ChatBody().dump());
  second.SendPost(kChat, ChatBody().dump());
  ASSERT_TRUE(engine_->WaitForRequests(2));
  nlohmann::json load = Get("/load").json();
  EXPECT_EQ(load["waiting"], 2) << load;
  EXPECT_EQ(load["kv_blocks_used"], 8);
  EXPECT_EQ(load["kv_blocks_total"], 1000);
  EXPECT_EQ(load["kv_blocks_by_layer"], nlohmann::json({2, 2, 2, 2}));
  EXPECT_EQ(load["level_fallbacks"], Get("/ready").json()["level_fallbacks"]);
  EXPECT_EQ(load["level_fallbacks"][0]["level"], "fast");
  engine_->Resume();
  EXPECT_EQ(first.Read().status, 200);
  EXPECT_EQ(second.Read().status, 200);
  ASSERT_TRUE(engine_->WaitForIdle());
  load = Get("/load").json();
  EXPECT_EQ(load["waiting"], 0) << load;
  EXPECT_EQ(load["kv_blocks_by_layer"], nlohmann::json({0, 0, 0, 0}));
}

TEST_F(HttpTest, LoadTellsTheRecentGapsBetweenTokens) {
  EXPECT_EQ(Get("/load").json()["token_gaps"]["count"], 0);
  ExpectAlive();  // 17 tokens, a byte each
  EXPECT_EQ(Get("/load").json()["token_gaps"]["count"], 16);
  for (int i = 1; i <= 84; ++i) metrics_.TokenGap(absl::Seconds(i), absl::Now());
  const nlohmann::json gaps = Get("/load").json()["token_gaps"];
  EXPECT_EQ(gaps, (nlohmann::json{{"window_seconds", 10.0},
                                  {"count", 100},
                                  {"median_seconds", 34.0},
                                  {"p99_seconds", 83.0},
                                  {"max_seconds", 84.0}}));
}

TEST_F(HttpTest, ReadyFollowsSetReadyAndDraining) {
  server_->SetReady(false);
  EXPECT_EQ(Get("/ready").status, 503);
  EXPECT_EQ(Get("/health").status, 200);
  server_->SetReady(true);
  EXPECT_EQ(Get("/ready").status, 200);
  engine_->Drain(absl::ZeroDuration());
  const TestReply draining = Get("/ready");
  EXPECT_EQ(draining.status, 503);
  EXPECT_EQ(draining.headers.at("retry-after"), "1");
}

TEST_F(HttpTest, ReadyTellsWhichLevelsFellBack) {
  EXPECT_EQ(Get("/ready").json()["level_fallbacks"], nlohmann::json::array());
  engine_->SetFallbacks({{"fast", "balanced", 0.31, 0.25, absl::Seconds(287)}});
  const TestReply reply = Get("/ready");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.json()["status"], "ready");
  EXPECT_EQ(reply.json()["level_fallbacks"], nlohmann::json::array({{{"level", "fast"},
                                                                     {"served_by", "balanced"},
                                                                     {"canary_kl", 0.31},
                                                                     {"canary_max_kl", 0.25},
                                                                     {"retry_in_seconds", 287.0}}}))
      << reply.body;
  EXPECT_THAT(Get("/metrics").body, HasSubstr("skipserve_level_fallback{level=\"fast\"} 1\n"));
  engine_->SetFallbacks({});
  EXPECT_EQ(Get("/ready").json()["level_fallbacks"], nlohmann::json::array());
  EXPECT_THAT(Get("/metrics").body, HasSubstr("skipserve_level_fallback{level=\"fast\"} 0\n"));
}

TEST_F(HttpTest, MetricsCountCalls) {
  ExpectAlive();
  EXPECT_EQ(Post(kChat, {{"messages", 5}}).status, 400);
  const TestReply reply = Get("/metrics");
  EXPECT_EQ(reply.status, 200);
  EXPECT_THAT(reply.headers.at("content-type"), HasSubstr("version=0.0.4"));
  EXPECT_THAT(reply.body, HasSubstr("# HELP"));
  EXPECT_THAT(reply.body, HasSubstr("endpoint=\"/v1/chat/completions\",outcome=\"ok\"} 1"));
  EXPECT_THAT(reply.body, HasSubstr("endpoint=\"/v1/chat/completions\",outcome=\"invalid\"} 1"));
}

TEST_F(HttpTest, ModelsByTheirNames) {
  const nlohmann::json list = Get("/v1/models").json();
  ASSERT_EQ(list["data"].size(), 1u) << list;
  const nlohmann::json& model = list["data"][0];
  EXPECT_EQ(model["id"], "tiny");
  EXPECT_EQ(model["object"], "model");
  EXPECT_EQ(model["dtype"], "f32");
  EXPECT_EQ(model["kv_dtype"], "int8");
  EXPECT_EQ(model["max_model_len"], 4096);
  EXPECT_EQ(model["has_chat_template"], true);
  EXPECT_EQ(model["skip"]["default_level"], "balanced");
  EXPECT_EQ(model["skip"]["levels"][0]["name"], "balanced");
  const nlohmann::json& level = model["skip"]["levels"][0];
  EXPECT_EQ(level["policy"]["start"], 1);
  EXPECT_EQ(level["policy_fingerprint"], kFakeFingerprint);
  ASSERT_EQ(level["bounds"].size(), 2u);
  EXPECT_EQ(level["bounds"][0],
            (nlohmann::json{{"prompt_tokens", 1024}, {"flop_bound", 1.5}, {"kv_share", 0.75}}));
  EXPECT_EQ(level["figures"], FiguresToJson(engine_->info().skip_levels[0].figures));
  for (const char* name :
       {"tiny", "default", "tiny-model.Q8_0", "tiny-model.Q8_0.gguf", "t%69ny"}) {
    EXPECT_EQ(Get(std::string("/v1/models/") + name).json(), model) << name;
    EXPECT_EQ(Post(kChat, ChatBody({{"model", name}})).status, name[1] == '%' ? 404 : 200) << name;
  }
  for (const char* name : {"other", "a/b/c", "%ff"}) {
    const TestReply reply = Get(std::string("/v1/models/") + name);
    EXPECT_EQ(reply.status, 404);
    EXPECT_EQ(reply.json()["error"]["code"], "model_not_found") << reply.body;
  }
}

TEST_F(HttpTest, TokenizeAndBack) {
  const nlohmann::json plain = Post("/tokenize", {{"text", "a<s>"}, {"plain", true}}).json();
  EXPECT_EQ(plain["tokens"], nlohmann::json({'a', '<', 's', '>'})) << plain;
  EXPECT_EQ(plain["count"], 4);
  EXPECT_EQ(plain["max_model_len"], 4096);
  EXPECT_EQ(Post("/tokenize", {{"content", "a<s>"}}).json()["tokens"],
            nlohmann::json({'a', kFakeBos}));
  // More than the context could hold: it is only counted.
  EXPECT_EQ(Post("/tokenize", {{"text", std::string(100000, 'x')}}).json()["count"], 100000);
  const nlohmann::json chat =
      Post("/tokenize", {{"messages", {{{"role", "user"}, {"content", "<s>"}}}}}).json();
  EXPECT_EQ(chat["tokens"][0], kFakeStart) << chat;
  EXPECT_EQ(std::count(chat["tokens"].begin(), chat["tokens"].end(), kFakeBos), 0);
  EXPECT_EQ(Post("/detokenize", {{"tokens", {'h', 'i', kFakeEos}}}).json()["text"], "hi");
  EXPECT_EQ(Post("/detokenize", {{"tokens", {'h', kFakeEos}}, {"skip_special_tokens", false}})
                .json()["text"],
            "h</s>");
  EXPECT_EQ(Post("/detokenize", {{"tokens", {0xff}}}).json()["text"], "\xEF\xBF\xBD");

  const nlohmann::json texts = Post("/tokenize", {{"text", "\xC3\xA9<s>"}, {"texts", true}}).json();
  EXPECT_EQ(texts["tokens"], nlohmann::json({0xC3, 0xA9, kFakeBos})) << texts;
  EXPECT_EQ(texts["texts"], nlohmann::json({"", "\xC3\xA9", "<s>"}));
  EXPECT_EQ(texts["special"], nlohmann::json::array({2}));
  EXPECT_FALSE(chat.contains("texts"));

  EXPECT_EQ(Post("/tokenize", {{"texts", 1}, {"text", "a"}}).json()["error"]["param"], "texts");
  EXPECT_EQ(Post("/tokenize", {{"text", 5}}).json()["error"]["param"], "text");
  EXPECT_EQ(Post("/tokenize", ChatBody({{"plain", true}})).json()["error"]["param"], "plain");
  EXPECT_EQ(Post("/tokenize", nlohmann::json::object()).json()["error"]["param"], "text");
  EXPECT_EQ(Post("/tokenize", {{"messages", {1}}}).json()["error"]["param"], "messages[0]");
  EXPECT_EQ(Post("/detokenize", {{"tokens", {1, 260}}}).json()["error"]["param"], "tokens[1]");
  EXPECT_EQ(Post("/detokenize", {{"tokens", "x"}}).json()["error"]["param"], "tokens");
  EXPECT_EQ(Post("/detokenize", nlohmann::json::object()).json()["error"]["param"], "tokens");
  EXPECT_EQ(PostText("/tokenize", "{").status, 400);
}

// As Tokenize over gRPC does by default; see grpc_server_test.cc.
TEST_F(HttpTest, TokenizesAsCompletionsWouldRead) {
  FakeOptions fake;
  fake.add_bos = true;
  Restart(fake);
  const nlohmann::json tokens = Post("/tokenize", {{"text", "a</s>"}}).json()["tokens"];
  EXPECT_EQ(tokens, nlohmann::json({kFakeBos, 'a', kFakeEos}));
  EXPECT_EQ(Post(kText, {{"prompt", "a</s>"}}).status, 200);
  EXPECT_EQ(nlohmann::json(engine_->requests()[0].prompt), tokens);
}

TEST_F(HttpTest, UnknownPathsAndWrongMethods) {
  for (const char* path : {"/nothing", "/v1", "/v1/models/", "/V1/models", "//", "/health/"}) {
    const TestReply reply = Get(path);
    EXPECT_EQ(reply.status, 404) << path;
    EXPECT_EQ(reply.json()["error"]["type"], "not_found_error") << reply.body;
  }
  const TestReply chat = Get(kChat);
  EXPECT_EQ(chat.status, 405);
  EXPECT_EQ(chat.headers.at("allow"), "POST");
  EXPECT_TRUE(chat.json()["error"]["message"].is_string()) << chat.body;
  const TestReply health = Post("/health", {});
  EXPECT_EQ(health.status, 405);
  EXPECT_EQ(health.headers.at("allow"), "GET, HEAD");
  for (const char* method : {"PUT", "DELETE", "OPTIONS", "PATCH"}) {
    TestClient client(port());
    client.Send(std::string(method) + " /v1/models HTTP/1.1\r\nHost: test\r\n\r\n");
    EXPECT_EQ(client.Read().status, 405) << method;
  }
  ExpectAlive();
}

TEST_F(HttpTest, HeadHasNoBody) {
  TestClient client(port());
  client.Send("HEAD /health HTTP/1.1\r\nHost: test\r\n\r\n");
  const TestReply head = client.Read(/*head=*/true);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.headers.at("content-length"), std::to_string(Get("/health").body.size()));
  EXPECT_EQ(client.Get("/health").status, 200);  // and the connection goes on
}

TEST_F(HttpTest, ContentTypeMustBeJsonOrAbsent) {
  const auto post = [&](const std::string& type) {
    TestClient client(port());
    const std::string body = TextBody().dump();
    client.Send("POST /v1/completions HTTP/1.1\r\nHost: test\r\n" + type +
                "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
    return client.Read();
  };
  EXPECT_EQ(post("").status, 200);
  EXPECT_EQ(post("Content-Type: application/json; charset=utf-8\r\n").status, 200);
  EXPECT_EQ(post("Content-Type: text/plain\r\n").status, 415);
  const TestReply form = post("Content-Type: application/x-www-form-urlencoded\r\n");
  EXPECT_EQ(form.status, 415);
  EXPECT_EQ(form.headers.count("x-request-id"), 1u);
  TestClient client(port());
  client.Send("POST /tokenize HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}");
  EXPECT_EQ(client.Read().status, 415);
}

}  // namespace
}  // namespace skipserve
