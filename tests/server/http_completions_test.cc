// The two completion routes over a socket: shapes, streams, and the errors of the engine.
#include <algorithm>
#include <memory>
#include <new>
#include <set>
#include <string>
#include <vector>

#include "server/log.h"
#include "tests/server/http_fixture.h"

namespace skipserve {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::vector<json> Chunks(const TestReply& reply) {
  std::vector<json> chunks;
  for (const std::string& event : reply.events()) {
    if (event != "[DONE]") chunks.push_back(json::parse(event, nullptr, false));
  }
  return chunks;
}

TEST_F(HttpTest, PlainChat) {
  const TestReply reply = Post(kChat, ChatBody({{"skip", "off"}, {"seed", 7}, {"unknown", {1}}}));
  ASSERT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(reply.headers.at("content-type"), "application/json");
  const json body = reply.json();
  EXPECT_THAT(body["id"].get<std::string>(), StartsWith("chatcmpl-"));
  EXPECT_EQ(reply.headers.at("x-request-id"), body["id"]);
  EXPECT_EQ(body["object"], "chat.completion");
  EXPECT_EQ(body["model"], "tiny");
  EXPECT_GT(body["created"], 1600000000);
  const json& choice = body["choices"][0];
  EXPECT_EQ(choice["index"], 0);
  EXPECT_EQ(choice["message"]["role"], "assistant");
  EXPECT_EQ(choice["message"]["content"], "The answer is 42.");
  EXPECT_EQ(choice["finish_reason"], "stop");
  EXPECT_TRUE(choice["logprobs"].is_null());
  const int64_t prompt = static_cast<int64_t>(engine_->requests()[0].prompt.size());
  EXPECT_EQ(body["usage"]["prompt_tokens"], prompt);
  EXPECT_EQ(body["usage"]["completion_tokens"], 17);
  EXPECT_EQ(body["usage"]["total_tokens"], prompt + 17);
  EXPECT_EQ(body["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
  EXPECT_EQ(body["skip"]["level"], "off");
  EXPECT_EQ(body["skip"]["skip_ratio"], 0.0);
  EXPECT_FALSE(body["skip"].contains("layers"));
  EXPECT_FALSE(body["skip"].contains("policy_fingerprint"));
  EXPECT_EQ(body["skip"]["expected_kl"], 0.0);
  EXPECT_EQ(body["skip"]["expected_agreement"], 1.0);
  EXPECT_TRUE(body["timings"]["ttft_seconds"].is_number());
  EXPECT_EQ(engine_->requests()[0].sampling.seed, 7u);
  EXPECT_EQ(engine_->requests()[0].skip.mode, SkipRequest::Mode::kOff);
}

TEST_F(HttpTest, PlainCompletionWithLimit) {
  const json body = Post(kText, TextBody({{"max_tokens", 3}})).json();
  EXPECT_THAT(body["id"].get<std::string>(), StartsWith("cmpl-"));
  EXPECT_EQ(body["object"], "text_completion");
  EXPECT_EQ(body["choices"][0]["text"], "The");
  EXPECT_EQ(body["choices"][0]["finish_reason"], "length");
}

TEST_F(HttpTest, SeedsAreDrawnWhereNoneIsGiven) {
  Post(kText, TextBody());
  Post(kText, TextBody());
  const auto requests = engine_->requests();
  EXPECT_NE(requests[0].sampling.seed, requests[1].sampling.seed);
}

TEST_F(HttpTest, ChatMessagesNeverBecomeSpecialTokens) {
  Post(kChat, {{"messages", {{{"role", "user"}, {"content", "<|im_end|></s>"}}}}});
  Post(kText, {{"prompt", "<|im_end|>"}});
  const auto requests = engine_->requests();
  const auto& chat = requests[0].prompt;
  EXPECT_EQ(std::count(chat.begin(), chat.end(), kFakeEnd), 1);  // the template's own
  EXPECT_EQ(std::count(chat.begin(), chat.end(), kFakeEos), 0);
  EXPECT_THAT(requests[1].prompt, ElementsAre(kFakeEnd));
}

TEST_F(HttpTest, StreamedChat) {
  const TestReply reply =
      Post(kChat, ChatBody({{"stream", true}, {"stream_options", {{"include_usage", true}}}}));
  ASSERT_EQ(reply.status, 200) << reply.body;
  EXPECT_THAT(reply.headers.at("content-type"), StartsWith("text/event-stream"));
  ASSERT_FALSE(reply.events().empty());
  EXPECT_EQ(reply.events().back(), "[DONE]");
  const std::vector<json> chunks = Chunks(reply);
  std::string text;
  std::set<json> ids;
  for (size_t i = 0; i < chunks.size(); ++i) {
    const json& chunk = chunks[i];
    ASSERT_FALSE(chunk.is_discarded());
    EXPECT_EQ(chunk["object"], "chat.completion.chunk");
    ids.insert(chunk["id"]);
    const bool last = i + 1 == chunks.size();
    EXPECT_EQ(chunk["usage"].is_null(), !last);
    EXPECT_EQ(chunk.contains("skip"), last);
    EXPECT_EQ(chunk["choices"].size(), last ? 0u : 1u);
    if (last) continue;
    EXPECT_EQ(chunk["choices"][0]["delta"].contains("role"), i == 0);
    text += chunk["choices"][0]["delta"].value("content", "");
  }
  EXPECT_EQ(ids.size(), 1u);
  EXPECT_EQ(text, "The answer is 42.");
  EXPECT_EQ(chunks[chunks.size() - 2]["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(chunks.back()["usage"]["completion_tokens"], 17);
  EXPECT_TRUE(chunks.back()["timings"]["total_seconds"].is_number());
}

TEST_F(HttpTest, StreamWithoutUsageEndsInTheReasonAndTheReport) {
  const std::vector<json> chunks = Chunks(Post(kText, TextBody({{"stream", true}})));
  std::string text;
  for (const json& chunk : chunks) {
    EXPECT_FALSE(chunk.contains("usage"));
    text += chunk["choices"][0]["text"].get<std::string>();
  }
  EXPECT_EQ(text, "The answer is 42.");
  EXPECT_EQ(chunks.back()["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(chunks.back()["skip"]["reason"], "the prompt is short");
}

TEST_F(HttpTest, SeveralPromptsAndChoices) {
  const TestReply reply =
      Post(kText, {{"prompt", {"one", "two three"}}, {"n", 2}, {"max_tokens", 2}});
  const json body = reply.json();
  ASSERT_EQ(body["choices"].size(), 4u) << reply.body;
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(body["choices"][i]["index"], i);
    EXPECT_EQ(body["choices"][i]["text"], "Th");
    EXPECT_EQ(body["choices"][i]["skip"]["level"], "off");
  }
  EXPECT_EQ(body["usage"]["prompt_tokens"], 3 + 9);  // a prompt counts once
  EXPECT_EQ(body["usage"]["completion_tokens"], 8);
  const auto requests = engine_->requests();
  ASSERT_EQ(requests.size(), 4u);
  EXPECT_EQ(requests[1].prompt.size(), 3u);
  EXPECT_EQ(requests[2].prompt.size(), 9u);
  EXPECT_EQ(requests[3].sampling.choice, 1u);

  const std::vector<json> chunks = Chunks(
      Post(kText, {{"prompt", {{1, 2}, {3}}}, {"n", 2}, {"max_tokens", 2}, {"stream", true}}));
  std::vector<std::string> texts(4);
  for (const json& chunk : chunks) {
    const json& choice = chunk["choices"][0];
    texts[choice["index"].get<size_t>()] += choice["text"];
    EXPECT_EQ(chunk.contains("skip"), &chunk == &chunks.back());
    EXPECT_EQ(choice.contains("timings"), !choice["finish_reason"].is_null());
  }
  EXPECT_THAT(texts, ElementsAre("Th", "Th", "Th", "Th"));
}

TEST_F(HttpTest, ACallOfManyPromptsCountsOnce) {
  EXPECT_EQ(Post(kText, {{"prompt", {"one", "two three", "x"}}}).status, 200);
  const std::string text = Get("/metrics").body;
  EXPECT_THAT(text, HasSubstr("endpoint=\"/v1/completions\",outcome=\"ok\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("skipserve_prompt_tokens_total 13\n"));
}

TEST_F(HttpTest, RefusedCallsHaveAnIdThatTheLogHasToo) {
  ASSERT_TRUE(SetUpLogging("info", "text").ok());
  const std::vector<std::pair<int, json>> cases = {{400, ChatBody({{"temperature", -1}})},
                                                   {404, ChatBody({{"model", "gpt-x"}})},
                                                   {429, ChatBody()}};
  for (const auto& [status, body] : cases) {
    if (status == 429) engine_->RefuseNext({absl::ResourceExhaustedError("the queue is full")});
    ::testing::internal::CaptureStderr();
    const TestReply reply = Post(kChat, body);
    const std::string log = ::testing::internal::GetCapturedStderr();
    EXPECT_EQ(reply.status, status);
    ASSERT_EQ(reply.headers.count("x-request-id"), 1u) << status;
    EXPECT_THAT(log, HasSubstr("request id=\"" + reply.headers.at("x-request-id") + "\""));
    EXPECT_THAT(log, HasSubstr(status == 429 ? "\"rejected\"" : "\"invalid\""));
    EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 1) << log;
  }
}

// Has no memory to tokenize with.
class NoMemoryEngine : public FakeEngine {
 public:
  const Tokenizer& tokenizer() const override { throw std::bad_alloc(); }
};

TEST_F(HttpTest, WhatAHandlerThrowsIsItsCallsEndAlone) {
  Restart(std::make_unique<NoMemoryEngine>());
  for (const auto& [path, body] : {std::pair<std::string, json>{kChat, ChatBody()},
                                   {kText, TextBody()},
                                   {"/tokenize", {{"text", "x"}}}}) {
    const TestReply reply = Post(path, body);
    EXPECT_EQ(reply.status, 429) << path;
    EXPECT_THAT(reply.body, HasSubstr("memory"));
  }
  EXPECT_THAT(Get("/metrics").body,
              HasSubstr("endpoint=\"/v1/completions\",outcome=\"rejected\"} 1\n"));
}

TEST_F(HttpTest, SkipReportWithLayersAndRows) {
  const json body =
      Post(kText,
           {{"prompt", std::string(200, 'x')},
            {"skip", {{"level", "balanced"}, {"report", {{"layers", true}, {"rows", true}}}}}})
          .json();
  EXPECT_EQ(body["skip"]["level"], "balanced") << body;
  EXPECT_EQ(body["skip"]["policy_fingerprint"], kFakeFingerprint);
  EXPECT_EQ(body["skip"]["expected_kl"], 0.25);
  EXPECT_EQ(body["skip"]["expected_agreement"], 0.875);
  EXPECT_EQ(body["skip"]["flop_bound"], 2.0);
  EXPECT_EQ(body["skip"]["kv_token_layers"], 400);
  ASSERT_EQ(body["skip"]["layers"].size(), 4u);
  EXPECT_EQ(body["skip"]["layers"][0]["candidates"], 200);
  EXPECT_EQ(body["skip"]["layers"][0]["attention"], 100);
  EXPECT_EQ(body["skip"]["rows"][0]["attention"], json({0, 1}));
}

TEST_F(HttpTest, EngineRefusalsMapToStatuses) {
  const std::vector<std::pair<absl::Status, int>> cases = {
      {absl::InvalidArgumentError("too long"), 400},
      {absl::ResourceExhaustedError("the queue is full"), 429},
      {absl::UnavailableError("shutting down"), 503},
      {absl::InternalError("broken"), 500},
      {absl::DeadlineExceededError("late"), 504}};
  for (const bool stream : {false, true}) {
    for (const auto& [status, code] : cases) {
      engine_->RefuseNext({status});
      const TestReply reply = Post(kChat, ChatBody({{"stream", stream}}));
      EXPECT_EQ(reply.status, code) << reply.body;
      EXPECT_THAT(reply.json()["error"]["message"].get<std::string>(),
                  HasSubstr(std::string(status.message())));
      EXPECT_EQ(reply.headers.count("retry-after"), code == 429 || code == 503 ? 1u : 0u);
    }
  }
  EXPECT_EQ(Post(kChat, ChatBody({{"n", 2}})).status, 200);
  // The second of two prompts is refused: the first one's work must not go on.
  engine_->Pause();
  engine_->RefuseNext({absl::OkStatus(), absl::ResourceExhaustedError("full")});
  EXPECT_EQ(Post(kText, {{"prompt", {"a", "b"}}}).status, 429);
  EXPECT_TRUE(engine_->WaitForCancelled(1));
  EXPECT_TRUE(engine_->WaitForIdle());
  engine_->Resume();
  ExpectAlive();
}

TEST_F(HttpTest, DeadlineBeforeTheFirstTokenIs504) {
  engine_->Pause();
  for (const bool stream : {false, true}) {
    const TestReply reply = Post(kChat, ChatBody({{"stream", stream}, {"timeout_seconds", 0.01}}));
    EXPECT_EQ(reply.status, 504) << reply.body;
    EXPECT_EQ(reply.json()["error"]["code"], "deadline_exceeded");
  }
  engine_->Resume();
  ExpectAlive();
}

TEST_F(HttpTest, FailureInMidStreamIsAnErrorEvent) {
  FakeOptions fake;
  fake.token_delay = absl::Milliseconds(1);
  fake.max_context = 1'000'000;
  Restart(fake);
  TestClient client(port());
  client.SendPost(
      kText, TextBody({{"stream", true}, {"ignore_eos", true}, {"max_tokens", 900'000}}).dump());
  ASSERT_TRUE(client.ReadUntil("data: "));
  engine_->Drain(absl::ZeroDuration());
  const TestReply reply = client.Read();
  EXPECT_EQ(reply.status, 200);
  const auto events = reply.events();
  ASSERT_GE(events.size(), 2u);
  EXPECT_EQ(events.back(), "[DONE]");
  const json error = json::parse(events[events.size() - 2])["error"];
  EXPECT_THAT(error["message"].get<std::string>(), HasSubstr("shutting down"));
  EXPECT_EQ(error["code"], "unavailable");
  EXPECT_EQ(Post(kText, TextBody()).status, 503);
}

TEST_F(HttpTest, BadBodiesNameTheirField) {
  const std::vector<std::pair<std::string, json>> cases = {
      {"{\"prompt\": \"x\", \"temperature\": NaN}", "temperature"},
      {"{\"prompt\": \"x\", \"temperature\": 1e999}", "temperature"},
      {"{\"prompt\": \"x\", \"max_tokens\": -1}", "max_tokens"},
      {"{\"prompt\": \"x\", \"max_tokens\": 5000}", "max_tokens"},
      {"{\"prompt\": \"x\", \"top_p\": \"1\"}", "top_p"},
      {"{\"prompt\": \"x\", \"skip\": {\"level\": \"nope\"}}", "skip.level"},
      {"{\"prompt\": \"\xff\"}", "prompt"},
      {"{\"prompt\": \"\"}", "prompt"},
      {"{\"prompt\": \"x\"", "prompt"},
      {"{}", "prompt"},
      {"", nullptr},
      {"[]", nullptr},
      {"nonsense", nullptr},
      {std::string(100000, '['), nullptr}};
  TestClient client(port());  // all on one connection, which each of them leaves as it was
  for (const auto& [body, param] : cases) {
    const TestReply reply = client.Post(kText, body);
    EXPECT_EQ(reply.status, 400) << body.substr(0, 80);
    EXPECT_EQ(reply.json()["error"]["param"], param) << reply.body;
    EXPECT_EQ(reply.json()["error"]["type"], "invalid_request_error") << reply.body;
    EXPECT_TRUE(reply.json()["error"].contains("code"));
  }
  EXPECT_EQ(client.Post(kText, TextBody().dump()).status, 200);
}

TEST_F(HttpTest, PromptLongerThanTheContext) {
  const TestReply reply = Post(kText, {{"prompt", std::string(5000, 'x')}});
  EXPECT_EQ(reply.status, 400);
  EXPECT_EQ(reply.json()["error"]["param"], "prompt");
  EXPECT_EQ(reply.json()["error"]["code"], "context_length_exceeded");
  EXPECT_THAT(reply.body, HasSubstr("4096"));
  // So long that it is not even tokenized.
  const TestReply huge = Post(kText, {{"prompt", std::string(100000, 'x')}});
  EXPECT_EQ(huge.status, 400);
  EXPECT_EQ(huge.json()["error"]["code"], "context_length_exceeded");
  EXPECT_THAT(huge.body, HasSubstr("100000 bytes"));
}

TEST_F(HttpTest, UnknownModelIs404) {
  const TestReply reply = Post(kChat, ChatBody({{"model", "gpt-x"}}));
  EXPECT_EQ(reply.status, 404);
  EXPECT_EQ(reply.json()["error"]["code"], "model_not_found");
  EXPECT_EQ(reply.json()["error"]["param"], "model");
}

TEST_F(HttpTest, ModelWithoutChatTemplate) {
  FakeOptions fake;
  fake.has_chat_template = false;
  Restart(fake);
  const TestReply reply = Post(kChat, ChatBody());
  EXPECT_EQ(reply.status, 400);
  EXPECT_THAT(reply.body, HasSubstr("chat template"));
  EXPECT_EQ(Post(kText, TextBody()).status, 200);
}

}  // namespace
}  // namespace skipserve
