// Clients that keep a connection, go away, read slowly, or come all at once.
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "tests/server/http_fixture.h"

namespace skipserve {
namespace {

using std::chrono::milliseconds;

TEST_F(HttpTest, OneConnectionManyRequests) {
  TestClient client(port());
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(client.Get("/health").headers.at("connection"), "keep-alive");
    EXPECT_EQ(client.Post(kChat, ChatBody().dump()).status, 200);
    EXPECT_EQ(client.Post(kChat, ChatBody({{"stream", true}}).dump()).events().back(), "[DONE]");
    EXPECT_EQ(client.Get("/nothing").status, 404);
    EXPECT_EQ(client.Post(kChat, "{").status, 400);
  }
  client.Send("GET /health HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(client.Read().headers.at("connection"), "close");
  EXPECT_TRUE(client.ReadsEnd());
}

TEST_F(HttpTest, RequestsSentAheadAreAnsweredInOrder) {
  TestClient client(port());
  client.SendPost(kText, TextBody({{"stream", true}}).dump());
  client.SendPost(kText, TextBody({{"max_tokens", 1}}).dump());
  client.SendGet("/health");
  EXPECT_EQ(client.Read().events().back(), "[DONE]");
  EXPECT_EQ(client.Read().json()["choices"][0]["text"], "T");
  EXPECT_EQ(client.Read().json()["status"], "ok");
}

TEST_F(HttpTest, Http10GetsNoChunksAndAnEnd) {
  TestClient client(port());
  const std::string body = TextBody({{"stream", true}}).dump();
  client.Send("POST /v1/completions HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: " +
              std::to_string(body.size()) + "\r\n\r\n" + body);
  const TestReply reply = client.Read();
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.headers.count("transfer-encoding"), 0u);
  EXPECT_EQ(reply.events().back(), "[DONE]");
  TestClient plain(port());
  plain.Send("GET /health HTTP/1.0\r\n\r\n");
  EXPECT_EQ(plain.Read().status, 200);
  EXPECT_TRUE(plain.ReadsEnd());
}

TEST_F(HttpTest, DisconnectWhileWaitingCancels) {
  engine_->Pause();
  for (const bool stream : {false, true}) {
    for (const bool reset : {false, true}) {
      const int64_t before = engine_->cancelled();
      TestClient client(port());
      client.SendPost(kChat, ChatBody({{"stream", stream}, {"n", 2}}).dump());
      ASSERT_TRUE(engine_->WaitForRequests(before + 2));
      if (reset) {
        client.Reset();
      } else {
        client.Close();
      }
      EXPECT_TRUE(engine_->WaitForCancelled(before + 2));
    }
  }
  engine_->Resume();
  ExpectAlive();
}

TEST_F(HttpTest, DisconnectInMidStreamCancels) {
  FakeOptions fake;
  fake.token_delay = absl::Milliseconds(1);
  fake.max_context = 10'000'000;
  Restart(fake);
  TestClient client(port());
  client.SendPost(
      kText, TextBody({{"stream", true}, {"ignore_eos", true}, {"max_tokens", 1000000}}).dump());
  ASSERT_TRUE(client.ReadUntil("data: "));
  client.Close();
  EXPECT_TRUE(engine_->WaitForCancelled(1));
  EXPECT_TRUE(engine_->WaitForIdle());
  ExpectAlive();
}

TEST_F(HttpTest, AClientSilentInMidStreamIsNotGone) {
  engine_->Pause();
  HttpOptions options;
  FakeOptions fake;
  options.header_timeout = options.idle_timeout = milliseconds(20);
  options.heartbeat = milliseconds(20);
  Restart(fake, options);
  engine_->Pause();
  TestClient client(port());
  client.SendPost(kText, TextBody({{"stream", true}}).dump());
  // The head and a comment come although there is no token yet, and the limits on requests do not
  // count.
  ASSERT_TRUE(client.ReadUntil(": waiting\n\n"));
  engine_->Resume();
  const TestReply reply = client.Read();
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.events().back(), "[DONE]");
  EXPECT_EQ(engine_->cancelled(), 0);
}

TEST_F(HttpTest, SlowReaderHoldsNobodyUpAndIsCutOff) {
  HttpOptions options;
  options.write_timeout = milliseconds(300);
  FakeOptions fake;
  fake.max_context = 100'000'000;
  fake.token_delay = absl::Microseconds(20);
  Restart(fake, options);
  TestClient slow(port(), /*receive_buffer=*/4096);
  // Every chunk is some 150 bytes: far more than both sockets' buffers hold.
  slow.SendPost(
      kText,
      TextBody(
          {{"stream", true}, {"ignore_eos", true}, {"logprobs", 20}, {"max_tokens", 50'000'000}})
          .dump());
  ASSERT_TRUE(engine_->WaitForTokens(1));
  ExpectAlive();  // another client is answered while the slow one reads nothing
  EXPECT_TRUE(engine_->WaitForCancelled(1));
  EXPECT_TRUE(engine_->WaitForIdle());
  ExpectAlive();
}

TEST_F(HttpTest, ASlowReaderWhoKeepsReadingGetsItAll) {
  FakeOptions fake;
  fake.max_context = 1'000'000;
  Restart(fake);
  TestClient client(port(), /*receive_buffer=*/4096);
  client.SendPost(kText,
                  TextBody({{"stream", true}, {"ignore_eos", true}, {"max_tokens", 20000}}).dump());
  ASSERT_TRUE(engine_->WaitForTokens(20000));  // the engine is done before anything is read
  ASSERT_TRUE(engine_->WaitForIdle());
  const TestReply reply = client.Read();
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.events().size(), 20000u + 2);  // tokens, the end, [DONE]
}

TEST_F(HttpTest, ManyClientsAtOnce) {
  std::atomic<int> good{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([this, i, &good] {
      TestClient client(port());
      for (int k = 0; k < 20; ++k) {
        if ((i + k) % 7 == 0) {  // some go away in the middle
          TestClient rude(port());
          rude.SendPost(kChat, ChatBody({{"stream", true}}).dump());
        }
        const bool stream = (i + k) % 2 == 0;
        const TestReply reply = client.Post(kChat, ChatBody({{"stream", stream}}).dump());
        const bool whole = stream ? !reply.events().empty() && reply.events().back() == "[DONE]"
                                  : absl::StrContains(reply.body, "The answer is 42.");
        if (reply.status == 200 && whole) ++good;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 16 * 20);
  EXPECT_TRUE(engine_->WaitForIdle());
}

}  // namespace
}  // namespace skipserve
